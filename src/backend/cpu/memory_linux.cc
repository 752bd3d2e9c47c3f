#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <limits>
#include <string>
#include <string_view>

#include "backend/cpu/memory.h"

namespace cohort::backend {
namespace {

constexpr uint64_t kUnlimited = std::numeric_limits<uint64_t>::max();

// The number a file starts with; `otherwise` when there is no such file or it says "max".
uint64_t read_number(const std::string& path, uint64_t otherwise) {
  std::ifstream file(path);
  uint64_t value = 0;
  return file >> value ? value : otherwise;
}

// The value of `key` in lines of "key value".
uint64_t read_key(const std::string& path, std::string_view key, uint64_t otherwise) {
  std::ifstream file(path);
  std::string word;
  uint64_t value = 0;
  while (file >> word) {
    if (word == key && file >> value) return value;
    file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return otherwise;
}

struct CgroupFiles {
  const char* limit;
  const char* usage;
  const char* inactive_key;
  const char* active_key;
};
constexpr CgroupFiles kVersion1 = {"memory.limit_in_bytes", "memory.usage_in_bytes",
                                   "total_inactive_file", "total_active_file"};
constexpr CgroupFiles kVersion2 = {"memory.max", "memory.current", "inactive_file", "active_file"};

// What a control group still allows. File pages count as usage there but are dropped under pressure.
uint64_t left_in(const std::string& folder, const CgroupFiles& files) {
  const uint64_t limit = read_number(folder + files.limit, kUnlimited);
  if (limit == kUnlimited) return kUnlimited;
  const uint64_t usage = read_number(folder + files.usage, 0);
  const uint64_t cached = read_key(folder + "memory.stat", files.inactive_key, 0) +
                          read_key(folder + "memory.stat", files.active_key, 0);
  const uint64_t held = usage - std::min(usage, cached);
  return limit - std::min(limit, held);
}

// The least of a group and those above it. Inside a container the group's own path may not be visible; the root is.
uint64_t left_up_from(const std::string& root, std::string path, const CgroupFiles& files) {
  uint64_t left = left_in(root + "/", files);
  while (path.size() > 1) {
    left = std::min(left, left_in(root + path + "/", files));
    path.erase(path.rfind('/'));
  }
  return left;
}

uint64_t left_in_cgroups() {
  std::ifstream groups("/proc/self/cgroup");  // lines of "4:memory:/path" (v1), "0::/path" (v2)
  uint64_t left = kUnlimited;
  std::string line;
  while (std::getline(groups, line)) {
    const size_t names = line.find(':');
    const size_t path = names == std::string::npos ? names : line.find(':', names + 1);
    if (path == std::string::npos) continue;
    const std::string controllers = line.substr(names + 1, path - names - 1);
    if (controllers.empty()) {
      left = std::min(left, left_up_from("/sys/fs/cgroup", line.substr(path + 1), kVersion2));
    } else if (controllers == "memory") {
      left =
          std::min(left, left_up_from("/sys/fs/cgroup/memory", line.substr(path + 1), kVersion1));
    }
  }
  return left;
}

}  // namespace

uint64_t available_memory_bytes() {
  const uint64_t kibibytes = read_key("/proc/meminfo", "MemAvailable:", kUnlimited >> 10);
  return std::min(kibibytes << 10, left_in_cgroups());
}

uint64_t second_level_cache_bytes() {
  constexpr uint64_t kUsual = 512 << 10;
#ifdef _SC_LEVEL2_CACHE_SIZE
  if (const long bytes = sysconf(_SC_LEVEL2_CACHE_SIZE); bytes > 0)
    return static_cast<uint64_t>(bytes);
#endif
  return kUsual;
}

uint64_t last_level_cache_bytes() {
#ifdef _SC_LEVEL3_CACHE_SIZE
  return static_cast<uint64_t>(std::max(0L, sysconf(_SC_LEVEL3_CACHE_SIZE)));
#else
  return 0;
#endif
}

}  // namespace cohort::backend
