// Connected sockets for links: made here, by deadline, without exceptions. Addresses are numeric ("127.0.0.1", "::1").
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "base/result.h"
#include "transport/deadline.h"
#include "transport/fd.h"

namespace cohort::transport {

struct SocketAddress {
  std::string host = "127.0.0.1";
  uint16_t port = 0;  // 0 when listening: any free one
};

Result<UniqueFd> listen_tcp(const SocketAddress& address);
Result<UniqueFd> listen_anywhere();  // on all interfaces, IPv6 and IPv4, any free port
Result<SocketAddress> local_address(const UniqueFd& socket);
Result<UniqueFd> accept_tcp(const UniqueFd& listener, Deadline deadline);
// Tries again while nobody listens there yet, until the deadline.
Result<UniqueFd> connect_tcp(const SocketAddress& address, Deadline deadline);

// Unix sockets under a random name (base/local_address.h). connect_local does not wait: kUnavailable when nobody on this
// host listens under the name.
Result<UniqueFd> listen_local(const std::string& name);
Result<UniqueFd> accept_local(const UniqueFd& listener, Deadline deadline);
Result<UniqueFd> connect_local(const std::string& name);

// Both ends of one connection inside this process (or for a child made by fork).
Result<std::pair<UniqueFd, UniqueFd>> tcp_pair();
Result<std::pair<UniqueFd, UniqueFd>> unix_pair();

// All of the bytes or an error: kUnavailable when the peer closes, kTimeout at the deadline.
Result<void> write_fully(const UniqueFd& socket, std::span<const std::byte> bytes,
                         Deadline deadline);
Result<void> read_fully(const UniqueFd& socket, std::span<std::byte> out, Deadline deadline);

// What differs between systems (socket_options_<system>.cc).
extern const int kSendFlags;  // never a SIGPIPE, never a wait
void tune_socket(int fd);     // non-blocking, closed on exec, no SIGPIPE
void tune_tcp_socket(
    int fd);  // no Nagle, prompt ACKs, a silent idle peer dropped in about three seconds
bool peer_is_silent(int fd);  // what was sent stays unacknowledged: about 1.5 s on a local network

}  // namespace cohort::transport
