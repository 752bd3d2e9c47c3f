// From a fresh TCP connection to a trusted one: TLS, hellos, and one device's word on whether the link is taken.
#pragma once

#include <functional>

#include "mesh/hello.h"
#include "mesh/secure_socket.h"
#include "net/task.h"

namespace cohort::mesh {

// The first bytes of a connection to the mesh port, in the open: what the dialer wants.
inline constexpr std::string_view kLinkPreamble = "cohort-L";
inline constexpr std::string_view kProbePreamble = "cohort-P";

struct HandshakeOptions {
  Role role = Role::kDialer;
  const Identity& identity;
  const Hello& hello;  // ours
  // Asked last, and only on the device with the smaller id: it alone decides which of two simultaneous connections stays.
  // A reason against it is told to the peer.
  std::function<Result<void>(const Hello& theirs)> admit;
};

// Returns who is there. kResourceExhausted: the peer has a link with us already. kNotFound: it is this very process. The
// caller closes the socket when this takes too long; both references must outlive it.
net::Task<Result<Hello>> shake_hands(SecureSocket& socket, HandshakeOptions options);

}  // namespace cohort::mesh
