// librdma of macOS 26.2 and later, over Thunderbolt 5. Its header is the verbs header of other systems.
#include "transport/verbs/system.h"

namespace cohort::transport {

const char* const kVerbsLibraryName = "librdma.dylib";
const bool kHasReliableQueuePairs = false;
const bool kHasCompletionEvents = false;

bool is_routable_address(const std::string&, uint8_t, int) { return true; }

std::string rdma_hint(bool has_library) {
  if (!has_library) return "";  // before macOS 26.2
  return "RDMA over Thunderbolt 5 has to be enabled once: start up in recovery mode, open a "
         "terminal there, run `rdma_ctl enable`, restart";
}

std::string locked_memory_hint() { return ""; }

}  // namespace cohort::transport
