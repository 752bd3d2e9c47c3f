#include <mach/mach.h>
#include <sys/sysctl.h>
#include <sys/utsname.h>

#include <string>

#include <fmt/format.h>

#include "node/device.h"

namespace cohort::node {
namespace {

std::string text_of(const char* name) {
  char value[256] = "";
  size_t size = sizeof value - 1;
  return sysctlbyname(name, value, &size, nullptr, 0) == 0 ? value : "";
}

template <class T>
T number_of(const char* name) {
  T value = 0;
  size_t size = sizeof value;
  return sysctlbyname(name, &value, &size, nullptr, 0) == 0 ? value : 0;
}

}  // namespace

// Free, inactive and purgeable pages can be had without swapping; so can clean pages of files (external ones).
DeviceMemory device_memory() {
  DeviceMemory memory{.total_bytes = number_of<uint64_t>("hw.memsize")};
  vm_statistics64 statistics{};
  mach_msg_type_number_t count = HOST_VM_INFO64_COUNT;
  const auto into = reinterpret_cast<host_info64_t>(&statistics);
  if (host_statistics64(mach_host_self(), HOST_VM_INFO64, into, &count) != KERN_SUCCESS)
    return memory;
  const uint64_t pages =
      uint64_t{statistics.free_count} + statistics.inactive_count + statistics.purgeable_count;
  memory.available_bytes = pages * vm_kernel_page_size;
  return memory;
}

DeviceHardware device_hardware() {
  DeviceHardware hardware{.cpu = text_of("machdep.cpu.brand_string"),
                          .cores = number_of<int32_t>("hw.physicalcpu")};
  utsname system{};
  if (uname(&system) == 0) hardware.system = fmt::format("macos {}", system.machine);
  return hardware;
}

// Apple gives temperatures and battery state to its own frameworks only.
double temperature_c() { return 0; }
int32_t battery_percent() { return -1; }

uint64_t own_rss_bytes() {
  mach_task_basic_info info{};
  mach_msg_type_number_t count = MACH_TASK_BASIC_INFO_COUNT;
  const auto into = reinterpret_cast<task_info_t>(&info);
  if (task_info(mach_task_self(), MACH_TASK_BASIC_INFO, into, &count) != KERN_SUCCESS) return 0;
  return info.resident_size;
}

}  // namespace cohort::node
