#include "transport/socket.h"

#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "base/local_address.h"
#include "base/tcp_congestion.h"

namespace cohort::transport {
namespace {

constexpr std::chrono::milliseconds kLongestPoll{1000};
constexpr int kBacklog = 128;
constexpr int kRetryMs = 10;  // between attempts to connect to who does not listen yet

using Resolved = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

Result<Resolved> resolve(const SocketAddress& address) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int error =
      getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &found);
  if (error != 0) {
    return fail(Code::kInvalidArgument, "'{}' is no numeric address: {}", address.host,
                gai_strerror(error));
  }
  return Resolved(found, &freeaddrinfo);
}

Result<void> wait_for(int fd, short events, Deadline deadline) {
  pollfd watched{.fd = fd, .events = events, .revents = 0};
  while (true) {
    const int ready = poll(&watched, 1, static_cast<int>(deadline.left(kLongestPoll).count()));
    if (ready > 0) return {};
    if (ready < 0 && errno != EINTR) return fail(Code::kInternal, "poll: {}", strerror(errno));
    if (deadline.passed()) return fail(Code::kTimeout, "the deadline passed");
  }
}

// One attempt; nullopt-like: an empty fd when nobody listens.
Result<UniqueFd> try_connect(const addrinfo& target, Deadline deadline) {
  UniqueFd socket(::socket(target.ai_family, SOCK_STREAM, 0));
  if (!socket) return fail(Code::kInternal, "socket: {}", strerror(errno));
  tune_socket(socket.get());
  avoid_paced_sending(socket.get());
  if (connect(socket.get(), target.ai_addr, target.ai_addrlen) == 0) return socket;
  if (errno == ECONNREFUSED) return UniqueFd();
  if (errno != EINPROGRESS) return fail(Code::kUnavailable, "{}", strerror(errno));
  COHORT_TRY_VOID(wait_for(socket.get(), POLLOUT, deadline));
  int error = 0;
  socklen_t size = sizeof(error);
  getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  if (error == ECONNREFUSED) return UniqueFd();
  if (error != 0) return fail(Code::kUnavailable, "{}", strerror(error));
  return socket;
}

bool would_block() { return errno == EAGAIN || errno == EWOULDBLOCK; }

}  // namespace

Result<UniqueFd> listen_tcp(const SocketAddress& address) {
  COHORT_TRY(const Resolved resolved, resolve(address));
  UniqueFd socket(::socket(resolved->ai_family, SOCK_STREAM, 0));
  if (!socket) return fail(Code::kInternal, "socket: {}", strerror(errno));
  tune_socket(socket.get());
  avoid_paced_sending(socket.get());
  const int on = 1, off = 0;
  setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (resolved->ai_family == AF_INET6)  // "::" takes IPv4 too
    setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
  if (bind(socket.get(), resolved->ai_addr, resolved->ai_addrlen) != 0 ||
      listen(socket.get(), kBacklog) != 0) {
    return fail(Code::kUnavailable, "cannot listen on {} port {}: {}", address.host, address.port,
                strerror(errno));
  }
  return socket;
}

Result<UniqueFd> listen_anywhere() {
  Result<UniqueFd> both = listen_tcp({.host = "::"});
  return both ? std::move(both) : listen_tcp({.host = "0.0.0.0"});  // no IPv6 on this machine
}

Result<SocketAddress> local_address(const UniqueFd& socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  char host[NI_MAXHOST], port[NI_MAXSERV];
  if (getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0 ||
      getnameinfo(reinterpret_cast<sockaddr*>(&address), size, host, sizeof(host), port,
                  sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return fail(Code::kInternal, "a socket without an address: {}", strerror(errno));
  }
  return SocketAddress{host, static_cast<uint16_t>(std::stoi(port))};
}

Result<UniqueFd> accept_local(const UniqueFd& listener, Deadline deadline) {
  while (true) {
    UniqueFd socket(accept(listener.get(), nullptr, nullptr));
    if (socket) {
      tune_socket(socket.get());
      return socket;
    }
    if (!would_block() && errno != EINTR && errno != ECONNABORTED) {
      return fail(Code::kUnavailable, "accept: {}", strerror(errno));
    }
    COHORT_TRY_VOID(wait_for(listener.get(), POLLIN, deadline));
  }
}

Result<UniqueFd> accept_tcp(const UniqueFd& listener, Deadline deadline) {
  COHORT_TRY(UniqueFd socket, accept_local(listener, deadline));
  tune_tcp_socket(socket.get());
  return socket;
}

Result<UniqueFd> connect_tcp(const SocketAddress& address, Deadline deadline) {
  COHORT_TRY(const Resolved resolved, resolve(address));
  while (true) {
    Result<UniqueFd> socket = try_connect(*resolved, deadline);
    if (!socket)
      return fail_in(fmt::format("{} port {}", address.host, address.port),
                     std::move(socket).error());
    if (*socket) {
      tune_tcp_socket(socket->get());
      return socket;
    }
    if (deadline.passed()) {
      return fail(Code::kTimeout, "{} port {}: nobody listens there", address.host, address.port);
    }
    poll(nullptr, 0, kRetryMs);
  }
}

Result<UniqueFd> listen_local(const std::string& name) {
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM, 0));
  if (!socket) return fail(Code::kInternal, "socket: {}", strerror(errno));
  tune_socket(socket.get());
  const LocalAddress address = local_socket_address(name);
  if (bind(socket.get(), address.get(), address.size) != 0 || listen(socket.get(), kBacklog) != 0)
    return fail(Code::kUnavailable, "cannot listen on a local socket: {}", strerror(errno));
  return socket;
}

Result<UniqueFd> connect_local(const std::string& name) {
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM, 0));
  if (!socket) return fail(Code::kInternal, "socket: {}", strerror(errno));
  tune_socket(socket.get());
  const LocalAddress address = local_socket_address(name);
  if (connect(socket.get(), address.get(), address.size) == 0) return socket;
  return fail(Code::kUnavailable, "nobody listens there: {}", strerror(errno));
}

Result<std::pair<UniqueFd, UniqueFd>> tcp_pair() {
  const Deadline deadline = Deadline::after(std::chrono::seconds(5));
  COHORT_TRY(const UniqueFd listener, listen_tcp({}));
  COHORT_TRY(const SocketAddress address, local_address(listener));
  COHORT_TRY(UniqueFd first, connect_tcp(address, deadline));
  COHORT_TRY(UniqueFd second, accept_tcp(listener, deadline));
  return std::pair(std::move(first), std::move(second));
}

Result<std::pair<UniqueFd, UniqueFd>> unix_pair() {
  int fds[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0) {
    return fail(Code::kInternal, "socketpair: {}", strerror(errno));
  }
  tune_socket(fds[0]);
  tune_socket(fds[1]);
  return std::pair(UniqueFd(fds[0]), UniqueFd(fds[1]));
}

Result<void> write_fully(const UniqueFd& socket, std::span<const std::byte> bytes,
                         Deadline deadline) {
  while (!bytes.empty()) {
    const ssize_t count = ::send(socket.get(), bytes.data(), bytes.size(), kSendFlags);
    if (count >= 0) {
      bytes = bytes.subspan(static_cast<size_t>(count));
    } else if (would_block()) {
      COHORT_TRY_VOID(wait_for(socket.get(), POLLOUT, deadline));
    } else if (errno != EINTR) {
      return fail(Code::kUnavailable, "{}", strerror(errno));
    }
  }
  return {};
}

Result<void> read_fully(const UniqueFd& socket, std::span<std::byte> out, Deadline deadline) {
  while (!out.empty()) {
    const ssize_t count = ::recv(socket.get(), out.data(), out.size(), MSG_DONTWAIT);
    if (count > 0) {
      out = out.subspan(static_cast<size_t>(count));
    } else if (count == 0) {
      return fail(Code::kUnavailable, "the connection was closed");
    } else if (would_block()) {
      COHORT_TRY_VOID(wait_for(socket.get(), POLLIN, deadline));
    } else if (errno != EINTR) {
      return fail(Code::kUnavailable, "{}", strerror(errno));
    }
  }
  return {};
}

}  // namespace cohort::transport
