// How the ranks of an instance find each other once all of them listen: each dials the ranks above it and takes those
// below, over TCP; then each pair changes over to the best transport that works between them.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "transport/cipher.h"
#include "transport/deadline.h"
#include "transport/link.h"
#include "transport/socket.h"

namespace cohort::transport {

struct RankPeer {
  int rank = 0;
  SocketAddress address;
  std::string name;   // of its device; for messages
  std::string first;  // the transport to try before others, where any will do; "": the usual order
};

struct ConnectOptions {
  int rank = 0;                    // ours
  uint64_t instance = 0;           // all ranks name the same
  std::optional<LinkKey> secret;   // none: links are not encrypted
  std::string transport = "auto";  // or what every pair must be linked by (transports.h)
  Deadline deadline = Deadline::after(std::chrono::seconds(10));
};

// links[r] leads to rank r and links[rank] is null: what make_group() wants. `peers` are all other ranks of 0..n-1. Who
// connects to the listener and fails the handshake is dropped with a line in the log, and disturbs nobody.
// kTimeout and kUnavailable name the ranks that are missing; kInvalidArgument one that is not linked as was wished.
Result<std::vector<std::unique_ptr<Link>>> connect_ranks(UniqueFd listener,
                                                         std::span<const RankPeer> peers,
                                                         const ConnectOptions& options);

}  // namespace cohort::transport
