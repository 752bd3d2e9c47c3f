// What a pair of ranks can be linked by. All meet over TCP; a pair that both offer something better, and find that it
// works between them, changes over to it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "transport/meeting.h"
#include "transport/tcp.h"

namespace cohort::transport {

struct Transport {
  std::string_view name;
  uint32_t offer;  // its bit in the hello
  // Called on both sides at once, with a meeting of their own. A link on both, or errors that say why there is none: a
  // side that fails lets the other know, by a message or a connection that ends, so that neither waits for long.
  Result<std::unique_ptr<Link>> (*open)(Meeting& meeting);
  bool (*is_here)();      // could this side open one at all?
  bool automatic = true;  // else only when wished for by name
};

inline constexpr std::string_view kAnyTransport = "auto";
inline constexpr std::string_view kTcp = "tcp";

// kInvalidArgument lists what there is when `wish` is no transport's name, nor kAnyTransport.
Result<void> check_transport(std::string_view wish);

struct LinkWish {
  std::string_view transport = kAnyTransport;
  std::string_view first;  // where any will do: to be tried before the others; TCP ends the search
};

// What a hello says this side is ready to change over to.
uint32_t offers_for(const LinkWish& wish);

// The best link of those both sides offer and `wish` allows: `met` itself when that is TCP. `handshake` is what `met` was
// opened with; both sides wish the same. kInvalidArgument: none is what was wished for; says why.
Result<std::unique_ptr<Link>> settle_link(OpenedLink met, HandshakeOptions handshake,
                                          const LinkWish& wish, bool dialled);

}  // namespace cohort::transport
