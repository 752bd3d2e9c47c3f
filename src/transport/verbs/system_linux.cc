#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include <fmt/format.h>

#include "base/bytes.h"
#include "transport/verbs/system.h"

namespace cohort::transport {
namespace {

namespace fs = std::filesystem;

bool has_entries(const char* folder) {
  std::error_code error;
  return fs::directory_iterator(folder, error) != fs::directory_iterator();
}

}  // namespace

const char* const kVerbsLibraryName = "libibverbs.so.1";
const VerbsRules kSystemRules;

bool is_routable_address(const std::string& device, uint8_t port, int index) {
  std::ifstream file(
      fmt::format("/sys/class/infiniband/{}/ports/{}/gid_attrs/types/{}", device, port, index));
  std::string type;
  std::getline(file, type);
  return type != "IB/RoCE v1";
}

std::string rdma_hint(bool has_library) {
  if (!has_entries("/sys/class/infiniband")) return "";  // no adapter, nothing to mend
  if (!has_library)
    return "a device is here, the library is not: apt install libibverbs1 ibverbs-providers";
  if (!has_entries("/sys/class/infiniband_verbs"))
    return "the kernel module ib_uverbs is not loaded: modprobe ib_uverbs";
  if (!has_entries("/dev/infiniband"))
    return "there is no /dev/infiniband: in a container, pass it in (--device /dev/infiniband)";
  for (const auto& entry : fs::directory_iterator("/dev/infiniband")) {
    const bool is_verbs = entry.path().filename().string().starts_with("uverbs");
    if (is_verbs && access(entry.path().c_str(), R_OK | W_OK) != 0) {
      return fmt::format("no permission to open {}: chmod 666 it, or add a udev rule",
                         entry.path().string());
    }
  }
  return "";
}

std::string locked_memory_hint() {
  rlimit limit{};
  getrlimit(RLIMIT_MEMLOCK, &limit);
  if (limit.rlim_cur == RLIM_INFINITY) return "";
  return fmt::format(
      "{} may be locked (ulimit -l): raise it, e.g. LimitMEMLOCK=infinity in the "
      "service, or memlock in /etc/security/limits.conf",
      format_bytes(limit.rlim_cur));
}

}  // namespace cohort::transport
