#include <mach/mach.h>

#include "backend/cpu/memory.h"

namespace cohort::backend {

uint64_t available_memory_bytes() {
  vm_statistics64_data_t statistics{};
  mach_msg_type_number_t count = HOST_VM_INFO64_COUNT;
  const mach_port_t host = mach_host_self();
  vm_size_t page_size = 0;
  host_page_size(host, &page_size);
  if (host_statistics64(host, HOST_VM_INFO64, reinterpret_cast<host_info64_t>(&statistics),
                        &count) != KERN_SUCCESS) {
    return UINT64_MAX;
  }
  const uint64_t pages = uint64_t{statistics.free_count} + statistics.inactive_count +
                         statistics.speculative_count + statistics.purgeable_count;
  return pages * page_size;
}

}  // namespace cohort::backend
