#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "transport/socket.h"

namespace cohort::transport {
namespace {

constexpr int kKeepaliveSeconds = 1;
constexpr int kKeepaliveProbes = 2;
constexpr int kMaxRetransmits =
    3;  // in a row: 0.2 + 0.4 + 0.8 s on a local network, longer where round trips are
constexpr int kMaxWindowProbes = 4;

void set(int fd, int level, int option, int value) {
  setsockopt(fd, level, option, &value,
             sizeof(value));  // advice: a system without it works, only slower
}

}  // namespace

const int kSendFlags = MSG_NOSIGNAL | MSG_DONTWAIT;

void tune_socket(int fd) {
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  fcntl(fd, F_SETFD, FD_CLOEXEC);
}

void tune_tcp_socket(int fd) {
  set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set(fd, IPPROTO_TCP, TCP_QUICKACK, 1);
  set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set(fd, IPPROTO_TCP, TCP_KEEPIDLE, kKeepaliveSeconds);
  set(fd, IPPROTO_TCP, TCP_KEEPINTVL, kKeepaliveSeconds);
  set(fd, IPPROTO_TCP, TCP_KEEPCNT, kKeepaliveProbes);
}

// Not TCP_USER_TIMEOUT: that also ends a connection whose peer answers but is too busy to read for a while.
bool peer_is_silent(int fd) {
  tcp_info info{};
  socklen_t size = sizeof(info);
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return false;
  return info.tcpi_retransmits >= kMaxRetransmits || info.tcpi_probes >= kMaxWindowProbes;
}

}  // namespace cohort::transport
