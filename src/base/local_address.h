// Addresses of unix sockets that only programs of this host can reach. On Linux names of the abstract namespace, which
// each network namespace has of its own: containers that share no network are separate hosts. On macOS files in the
// user's own temporary folder.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <string>
#include <string_view>

namespace cohort {

struct LocalAddress {
  sockaddr_un address{};
  socklen_t size = 0;

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address); }
};

// A name nobody guesses: 128 random bits, in hexadecimal.
std::string random_local_name();

// `name` as random_local_name() makes them; others may come from a peer and are cut to what fits.
LocalAddress local_socket_address(std::string_view name);

// Who was bound to the name closes its socket, and then this; Linux forgets by itself.
void forget_local_socket(std::string_view name);

}  // namespace cohort
