#include <sys/sysctl.h>

#include <algorithm>
#include <thread>

#include "backend/cpu/cores.h"

namespace cohort::backend {

int usable_cores() {
  for (const char* name : {"hw.perflevel0.physicalcpu", "hw.physicalcpu"}) {
    int count = 0;
    size_t size = sizeof(count);
    if (sysctlbyname(name, &count, &size, nullptr, 0) == 0 && count > 0) return count;
  }
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

}  // namespace cohort::backend
