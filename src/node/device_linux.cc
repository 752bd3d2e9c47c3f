#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

#include <fmt/format.h>

#include "node/device.h"

namespace cohort::node {
namespace {

constexpr uint64_t kNoLimit = std::numeric_limits<uint64_t>::max();

// The first number of a file, or kNoLimit ("max", a missing file).
uint64_t number_in(const std::string& path) {
  std::ifstream file(path);
  uint64_t value = 0;
  return file >> value ? value : kNoLimit;
}

// The limit of the container we are in, under either version of control groups as containers see them.
void apply_container_limit(DeviceMemory& memory) {
  uint64_t limit = number_in("/sys/fs/cgroup/memory.max");
  uint64_t used = number_in("/sys/fs/cgroup/memory.current");
  if (limit == kNoLimit) {
    limit = number_in("/sys/fs/cgroup/memory/memory.limit_in_bytes");
    used = number_in("/sys/fs/cgroup/memory/memory.usage_in_bytes");
  }
  if (limit >= memory.total_bytes) return;
  memory.total_bytes = limit;
  if (used != kNoLimit)
    memory.available_bytes = std::min(memory.available_bytes, limit - std::min(limit, used));
}

}  // namespace

DeviceMemory device_memory() {
  DeviceMemory memory;
  std::ifstream file("/proc/meminfo");
  std::string key, unit;
  uint64_t kibibytes = 0;
  while (file >> key >> kibibytes) {
    std::getline(file, unit);
    if (key == "MemTotal:") memory.total_bytes = kibibytes << 10;
    if (key == "MemAvailable:") memory.available_bytes = kibibytes << 10;
  }
  apply_container_limit(memory);
  return memory;
}

DeviceHardware device_hardware() {
  DeviceHardware hardware;
  utsname system{};
  if (::uname(&system) == 0) hardware.system = fmt::format("linux {}", system.machine);
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(": ");
    if (colon == std::string::npos) continue;
    if (line.starts_with("processor")) ++hardware.cores;
    const bool is_model = line.starts_with("model name") || line.starts_with("Model");
    if (is_model && hardware.cpu.empty()) hardware.cpu = line.substr(colon + 2);
  }
  std::ifstream("/proc/sys/kernel/random/boot_id") >> hardware.machine;
  return hardware;
}

double temperature_c() {
  double hottest = 0;
  for (int zone = 0; zone < 16; ++zone) {
    const uint64_t millidegrees =
        number_in(fmt::format("/sys/class/thermal/thermal_zone{}/temp", zone));
    if (millidegrees == kNoLimit) break;
    hottest = std::max(hottest, static_cast<double>(millidegrees) / 1000);
  }
  return hottest;
}

int32_t battery_percent() {
  for (int battery = 0; battery < 2; ++battery) {
    const uint64_t percent =
        number_in(fmt::format("/sys/class/power_supply/BAT{}/capacity", battery));
    if (percent <= 100) return static_cast<int32_t>(percent);
  }
  return -1;
}

uint64_t own_rss_bytes() {
  std::ifstream file("/proc/self/statm");
  uint64_t size_pages = 0, resident_pages = 0;
  file >> size_pages >> resident_pages;
  return resident_pages * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace cohort::node
