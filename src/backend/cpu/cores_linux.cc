#include <sched.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <string>

#include "backend/cpu/cores.h"

namespace cohort::backend {
namespace {

std::string first_word(const std::string& path) {
  std::ifstream file(path);
  std::string word;
  file >> word;
  return word;
}

// Threads of one core name the same list of siblings ("0,4"), so distinct lists count cores.
int allowed_cores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return 1;
  std::set<std::string> cores;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    const std::string number = std::to_string(cpu);
    const std::string siblings =
        first_word("/sys/devices/system/cpu/cpu" + number + "/topology/thread_siblings_list");
    cores.insert(siblings.empty() ? "cpu" + number : siblings);
  }
  return static_cast<int>(cores.size());
}

// Whole cores the container may keep busy; a large number without a quota.
int quota_cores() {
  constexpr int kNoQuota = 1 << 20;
  long quota = -1, period = 0;
  std::ifstream v2("/sys/fs/cgroup/cpu.max");  // "200000 100000", or "max 100000"
  if (v2 >> quota >> period && quota > 0 && period > 0) {
    return static_cast<int>((quota + period - 1) / period);
  }
  std::ifstream v1_quota("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"),
      v1_period("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  if (v1_quota >> quota && v1_period >> period && quota > 0 && period > 0) {
    return static_cast<int>((quota + period - 1) / period);
  }
  return kNoQuota;
}

}  // namespace

int usable_cores() { return std::max(1, std::min(allowed_cores(), quota_cores())); }

}  // namespace cohort::backend
