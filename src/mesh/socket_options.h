// Options of TCP sockets that Asio has no names for. Failures are harmless and ignored.
#pragma once

namespace cohort::mesh {

void tune_link_socket(int socket);   // no delay, a short queue in the kernel, notices a dead peer
void tune_probe_socket(int socket);  // no delay, a short queue in the kernel
void let_queue_grow(int socket);     // of a fast path: fewer, larger strides

// What differs between systems (socket_options_<system>.cc).
struct TcpOption {
  int name;
  int value;
};
extern const TcpOption
    kDropUnanswered;  // ends a connection whose peer has answered nothing for two seconds

}  // namespace cohort::mesh
