#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "mesh/socket_options.h"

namespace cohort::mesh {
namespace {

constexpr int kDropAfterSeconds = 2;  // of retransmitting without an acknowledgement
constexpr int kUnsentBytes =
    128 << 10;  // waiting in the kernel, so that control messages pass bulk
constexpr int kUnsentProbeBytes = 512
                                  << 10;  // enough for 10 Gbit/s, and 40 ms to drain at 100 Mbit/s

void set(int socket, int option, int value) {
  ::setsockopt(socket, IPPROTO_TCP, option, &value, sizeof value);
}

}  // namespace

void tune_link_socket(int socket) {
  set(socket, TCP_NODELAY, 1);
  set(socket, TCP_RXT_CONNDROPTIME, kDropAfterSeconds);
  set(socket, TCP_NOTSENT_LOWAT, kUnsentBytes);
}

void tune_probe_socket(int socket) {
  set(socket, TCP_NODELAY, 1);
  set(socket, TCP_NOTSENT_LOWAT, kUnsentProbeBytes);
}

}  // namespace cohort::mesh
