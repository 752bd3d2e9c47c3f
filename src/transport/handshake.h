// The first bytes on a TCP connection between two ranks: who is there, for which instance, encrypted or not, and fresh
// random numbers from which each direction's key is derived.
//
//   u64 magic "cohortLK"   u32 version   u32 1 when encrypted   u64 instance   u32 rank   u32 offers   32 random bytes
//
// That both hold the same secret shows in the first sealed message of each side (Kind::kKeyProof, empty).
#pragma once

#include <cstdint>
#include <optional>

#include "base/result.h"
#include "transport/cipher.h"
#include "transport/deadline.h"
#include "transport/fd.h"

namespace cohort::transport {

inline constexpr int kAnyRank = -1;

struct HandshakeOptions {
  int rank = 0;                   // ours
  int peer_rank = kAnyRank;       // who must be there; kAnyRank: whoever says so
  uint64_t instance = 0;          // both must name the same
  std::optional<LinkKey> secret;  // of the instance; none: the link is not encrypted
  uint32_t offers = 0;            // transports this side can change over to (transports.h)
  Deadline deadline = Deadline::after(std::chrono::seconds(10));
};

struct Greeting {
  int peer_rank = 0;
  uint32_t peer_offers = 0;
  std::optional<LinkKey> send_key, receive_key;
};

// Waits for the peer. kInvalidArgument when what is there is not a peer of this instance or encryption differs.
Result<Greeting> shake_hands(const UniqueFd& socket, const HandshakeOptions& options);

// Over a connection that is not sealed afterwards: both sides show that they made the same keys. Nothing where there are
// none. kUnauthorized when the peer holds another secret.
Result<void> prove_keys(const UniqueFd& socket, const Greeting& greeting, Deadline deadline);

}  // namespace cohort::transport
