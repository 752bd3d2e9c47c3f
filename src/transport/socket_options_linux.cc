#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "transport/socket.h"

namespace cohort::transport {
namespace {

constexpr int kKeepaliveSeconds = 1;
constexpr int kSilenceMs = 1500;  // unacknowledged for so long: the path or the peer is dead

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
  set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, kSilenceMs);
}

}  // namespace cohort::transport
