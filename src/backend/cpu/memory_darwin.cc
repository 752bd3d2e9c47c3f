#include <mach/mach.h>
#include <sys/sysctl.h>

#include <algorithm>
#include <initializer_list>

#include "backend/cpu/memory.h"

namespace cohort::backend {
namespace {

// The first of these that the OS knows; 0 where it knows none.
uint64_t first_size(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    uint64_t bytes = 0;
    size_t size = sizeof(bytes);
    if (sysctlbyname(name, &bytes, &size, nullptr, 0) == 0 && bytes > 0) return bytes;
  }
  return 0;
}

}  // namespace

// What Activity Monitor does not count as used: everything but what applications hold, what the kernel has wired and what
// the compressor keeps. Cached files and purgeable memory are given up on demand.
uint64_t available_memory_bytes() {
  uint64_t total = 0;
  size_t size = sizeof(total);
  vm_statistics64 statistics{};
  mach_msg_type_number_t count = HOST_VM_INFO64_COUNT;
  const mach_port_t host = mach_host_self();
  const kern_return_t told =
      host_statistics64(host, HOST_VM_INFO64, reinterpret_cast<host_info64_t>(&statistics), &count);
  mach_port_deallocate(mach_task_self(), host);
  if (told != KERN_SUCCESS || sysctlbyname("hw.memsize", &total, &size, nullptr, 0) != 0)
    return UINT64_MAX;
  const uint64_t held = uint64_t{statistics.internal_page_count} - statistics.purgeable_count +
                        statistics.wire_count + statistics.compressor_page_count;
  return total - std::min(total, held * vm_kernel_page_size);
}

uint64_t second_level_cache_bytes() {
  constexpr uint64_t kSharers = 4;  // cores of a cluster, at least
  constexpr uint64_t kUsual = 512 << 10;
  const uint64_t shared = first_size({"hw.perflevel0.l2cachesize", "hw.l2cachesize"});
  return shared > 0 ? shared / kSharers : kUsual;
}

uint64_t last_level_cache_bytes() {
  return first_size({"hw.l3cachesize", "hw.perflevel0.l2cachesize", "hw.l2cachesize"});
}

}  // namespace cohort::backend
