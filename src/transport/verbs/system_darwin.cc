// librdma of macOS 26.2 and later, over Thunderbolt 5. Its header is the verbs header of other systems; Apple's technical
// note TN3205 says how it is enabled. docs/macos.md lists where it differs from other systems' verbs.
#include "transport/verbs/system.h"

#include <cstdio>
#include <string_view>

namespace cohort::transport {
namespace {

// "enabled" or "disabled"; empty before macOS 26.2, which has no such tool. It changes in recovery mode only.
std::string rdma_ctl_status() {
  FILE* tool = popen("/usr/bin/rdma_ctl status 2>/dev/null", "r");
  if (tool == nullptr) return "";
  char line[64] = "";
  const bool answered = fgets(line, sizeof(line), tool) != nullptr;
  pclose(tool);
  const std::string_view text = answered ? line : "";
  return std::string(text.substr(0, text.find_first_of("\r\n")));
}

}  // namespace

const char* const kVerbsLibraryName = "librdma.dylib";
const VerbsRules kSystemRules = kAppleRules;

bool is_routable_address(const std::string&, uint8_t, int) { return true; }

std::string rdma_hint(bool has_library) {
  if (!has_library) return "";  // before macOS 26.2
  static const std::string status = rdma_ctl_status();
  if (status == "enabled") {
    return "RDMA is enabled (rdma_ctl status), and no port is there for it: it needs Thunderbolt 5 "
           "(M3 Ultra, M4 Pro, M4 Max or later)";
  }
  return "RDMA over Thunderbolt 5 has to be enabled once: start up in recovery mode, open a "
         "terminal there, run `rdma_ctl enable`, restart";
}

std::string locked_memory_hint() { return ""; }

}  // namespace cohort::transport
