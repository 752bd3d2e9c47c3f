// What differs between systems in RDMA (system_<system>.cc).
#pragma once

#include <cstdint>
#include <string>

#include "transport/verbs/verbs_rules.h"

namespace cohort::transport {

extern const char* const kVerbsLibraryName;

// Does this entry of a port's address table speak RoCE v2 (or InfiniBand)? Of two that do not differ otherwise, the one
// that does not is RoCE v1.
bool is_routable_address(const std::string& device, uint8_t port, int index);

// Why there may be no device here, or none that may be used, and what to do; empty when nothing is known to be wrong.
std::string rdma_hint(bool has_library);

// Why memory could not be registered, and what to do.
std::string locked_memory_hint();

}  // namespace cohort::transport
