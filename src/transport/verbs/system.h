// What differs between systems in RDMA (system_<system>.cc).
#pragma once

#include <cstdint>
#include <string>

namespace cohort::transport {

extern const char* const kVerbsLibraryName;
extern const bool kHasReliableQueuePairs;  // else only UC
extern const bool kHasCompletionEvents;    // else waits look again after a while
extern const bool kNeedsIpv4Address;       // queue pairs between other addresses are refused
// Access flags without which memory is refused, though nobody reads or writes it from afar.
extern const int kRemoteAccess;

// Does this entry of a port's address table speak RoCE v2 (or InfiniBand)? Of two that do not differ otherwise, the one
// that does not is RoCE v1.
bool is_routable_address(const std::string& device, uint8_t port, int index);

// Why there may be no device here, or none that may be used, and what to do; empty when nothing is known to be wrong.
std::string rdma_hint(bool has_library);

// Why memory could not be registered, and what to do.
std::string locked_memory_hint();

}  // namespace cohort::transport
