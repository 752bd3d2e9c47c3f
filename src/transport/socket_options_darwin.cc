#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "transport/socket.h"

namespace cohort::transport {
namespace {

constexpr int kKeepaliveSeconds = 1;
constexpr int kKeepaliveProbes = 2;
constexpr int kRetransmitSeconds = 2;

void set(int fd, int level, int option, int value) {
  setsockopt(fd, level, option, &value,
             sizeof(value));  // advice: a system without it works, only slower
}

}  // namespace

const int kSendFlags = MSG_DONTWAIT;

void tune_socket(int fd) {
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  set(fd, SOL_SOCKET, SO_NOSIGPIPE, 1);
}

void tune_tcp_socket(int fd) {
  set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set(fd, IPPROTO_TCP, TCP_KEEPALIVE, kKeepaliveSeconds);
  set(fd, IPPROTO_TCP, TCP_KEEPINTVL, kKeepaliveSeconds);
  set(fd, IPPROTO_TCP, TCP_KEEPCNT, kKeepaliveProbes);
  set(fd, IPPROTO_TCP, TCP_RXT_CONNDROPTIME, kRetransmitSeconds);
}

bool peer_is_silent(int) {
  return false;
}  // the system drops such a connection by itself, as tuned above

}  // namespace cohort::transport
