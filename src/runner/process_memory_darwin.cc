#include <mach/mach.h>

#include "runner/process_memory.h"

namespace cohort::runner {

uint64_t resident_bytes() {
  mach_task_basic_info info{};
  mach_msg_type_number_t count = MACH_TASK_BASIC_INFO_COUNT;
  const auto into = reinterpret_cast<task_info_t>(&info);
  if (task_info(mach_task_self(), MACH_TASK_BASIC_INFO, into, &count) != KERN_SUCCESS) return 0;
  return info.resident_size;
}

}  // namespace cohort::runner
