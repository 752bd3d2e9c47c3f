// A link over one TCP connection (or any connected stream socket), encrypted with AES-256-GCM when there is a secret.
// On the wire, after the hello of handshake.h: header, payload, and 16 bytes of tag when encrypted.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "transport/fd.h"
#include "transport/handshake.h"
#include "transport/link.h"

namespace cohort::transport {

// Shakes hands, so both ends must be opening at the same time. `name` is the peer's, for messages. kUnauthorized when
// the peer holds another secret, else as shake_hands().
Result<std::unique_ptr<Link>> open_tcp_link(UniqueFd socket, const HandshakeOptions& options,
                                            std::string name);

// The same for whoever of the instance it is; `name_of` gives the name of a rank.
struct OpenedLink {
  int peer_rank = 0;
  uint32_t peer_offers = 0;  // see HandshakeOptions::offers
  std::unique_ptr<Link> link;
};
Result<OpenedLink> open_tcp_link_to_any(UniqueFd socket, const HandshakeOptions& options,
                                        const std::function<std::string(int)>& name_of);

}  // namespace cohort::transport
