#include <unistd.h>

#include <fstream>

#include "runner/process_memory.h"

namespace cohort::runner {

uint64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");  // sizes in pages: total, resident, ...
  uint64_t total = 0, resident = 0;
  statm >> total >> resident;
  return resident * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace cohort::runner
