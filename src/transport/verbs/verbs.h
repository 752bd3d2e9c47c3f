// A link over RDMA: frames on queue pairs, beside the TCP link that connects both already and goes on to say who leaves,
// gives up or dies. Data is not encrypted: the cable is nobody else's.
#pragma once

#include <memory>
#include <optional>

#include "transport/link.h"
#include "transport/meeting.h"
#include "transport/verbs/device.h"
#include "transport/verbs/verbs_rules.h"

namespace cohort::transport {

enum class QueuePairType { kReliable, kUnreliable };  // RC, UC

inline constexpr int kMaxRails = 4;

struct VerbsOptions {
  std::vector<RdmaPort> ports;        // to try; empty: all that are usable
  std::optional<QueuePairType> type;  // none: RC where both have it
  int max_rails = kMaxRails;          // pairs of ports, where they are alike; at most kMaxRails
  std::optional<VerbsRules> rules;    // none: this system's
};

// Both ends call it at the same time. They try their ports in turn until messages cross a pair of them in both
// directions; nothing is assumed of addresses. On success on both ends the meeting's link has been taken over; else on
// neither, and the error says what was tried.
Result<std::unique_ptr<Link>> open_verbs_link(Meeting& meeting, const VerbsOptions& options);

Result<std::unique_ptr<Link>> open_verbs_between(Meeting& meeting);
Result<std::unique_ptr<Link>> open_unreliable_verbs_between(Meeting& meeting);  // UC everywhere
Result<std::unique_ptr<Link>> open_apple_verbs_between(Meeting& meeting);  // as on macOS everywhere

bool has_usable_rdma_port();

}  // namespace cohort::transport
