#include "mesh/socket_options.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace cohort::mesh {
namespace {

constexpr int kUnsentBytes = 128 << 10;  // short, so that control messages pass bulk
constexpr int kUnsentFastBytes = 4 << 20;

void set(int socket, int option, int value) {
  ::setsockopt(socket, IPPROTO_TCP, option, &value, sizeof value);
}

}  // namespace

void tune_link_socket(int socket) {
  tune_probe_socket(socket);
  set(socket, kDropUnanswered.name, kDropUnanswered.value);
}

void tune_probe_socket(int socket) {
  set(socket, TCP_NODELAY, 1);
  set(socket, TCP_NOTSENT_LOWAT, kUnsentBytes);
}

void let_queue_grow(int socket) { set(socket, TCP_NOTSENT_LOWAT, kUnsentFastBytes); }

}  // namespace cohort::mesh
