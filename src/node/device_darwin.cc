#include <CoreFoundation/CoreFoundation.h>
#include <IOKit/ps/IOPSKeys.h>
#include <IOKit/ps/IOPowerSources.h>
#include <mach/mach.h>
#include <sys/sysctl.h>
#include <sys/utsname.h>

#include <algorithm>
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

// A reference that a function named Copy or Create gave us.
template <class Ref>
class Owned {
 public:
  explicit Owned(Ref ref) : ref_(ref) {}
  ~Owned() {
    if (ref_ != nullptr) CFRelease(ref_);
  }
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;
  Ref get() const { return ref_; }

 private:
  Ref ref_;
};

// Not the battery of a UPS.
bool is_own_battery(CFDictionaryRef source) {
  const auto type = static_cast<CFStringRef>(CFDictionaryGetValue(source, CFSTR(kIOPSTypeKey)));
  return type != nullptr && CFEqual(type, CFSTR(kIOPSInternalBatteryType));
}

int int_of(CFDictionaryRef source, CFStringRef key) {
  const auto number = static_cast<CFNumberRef>(CFDictionaryGetValue(source, key));
  int value = -1;
  if (number == nullptr || !CFNumberGetValue(number, kCFNumberIntType, &value)) return -1;
  return value;
}

}  // namespace

// What Activity Monitor does not count as used: everything but what applications hold, what the kernel has wired and what
// the compressor keeps. Cached files and purgeable memory are given up on demand.
DeviceMemory device_memory() {
  DeviceMemory memory{.total_bytes = number_of<uint64_t>("hw.memsize")};
  vm_statistics64 statistics{};
  mach_msg_type_number_t count = HOST_VM_INFO64_COUNT;
  const auto into = reinterpret_cast<host_info64_t>(&statistics);
  const mach_port_t host = mach_host_self();
  const kern_return_t told = host_statistics64(host, HOST_VM_INFO64, into, &count);
  mach_port_deallocate(mach_task_self(), host);
  if (told != KERN_SUCCESS) return memory;
  const uint64_t held = uint64_t{statistics.internal_page_count} - statistics.purgeable_count +
                        statistics.wire_count + statistics.compressor_page_count;
  memory.available_bytes =
      memory.total_bytes - std::min(memory.total_bytes, held * vm_kernel_page_size);
  return memory;
}

DeviceHardware device_hardware() {
  DeviceHardware hardware{.cpu = text_of("machdep.cpu.brand_string"),
                          .cores = number_of<int32_t>("hw.physicalcpu"),
                          .machine = text_of("kern.bootsessionuuid")};
  utsname system{};
  if (uname(&system) == 0) hardware.system = fmt::format("macos {}", system.machine);
  return hardware;
}

// macOS tells programs no temperature, only a level of thermal pressure.
double temperature_c() { return 0; }

int32_t battery_percent() {
  const Owned<CFTypeRef> info(IOPSCopyPowerSourcesInfo());
  if (info.get() == nullptr) return -1;
  const Owned<CFArrayRef> sources(IOPSCopyPowerSourcesList(info.get()));
  const CFIndex count = sources.get() == nullptr ? 0 : CFArrayGetCount(sources.get());
  for (CFIndex i = 0; i < count; ++i) {
    const CFDictionaryRef source =
        IOPSGetPowerSourceDescription(info.get(), CFArrayGetValueAtIndex(sources.get(), i));
    if (source == nullptr || !is_own_battery(source)) continue;
    const int now = int_of(source, CFSTR(kIOPSCurrentCapacityKey));
    const int most = int_of(source, CFSTR(kIOPSMaxCapacityKey));
    if (now >= 0 && most > 0) return now * 100 / most;
  }
  return -1;
}

uint64_t own_rss_bytes() {
  mach_task_basic_info info{};
  mach_msg_type_number_t count = MACH_TASK_BASIC_INFO_COUNT;
  const auto into = reinterpret_cast<task_info_t>(&info);
  if (task_info(mach_task_self(), MACH_TASK_BASIC_INFO, into, &count) != KERN_SUCCESS) return 0;
  return info.resident_size;
}

}  // namespace cohort::node
