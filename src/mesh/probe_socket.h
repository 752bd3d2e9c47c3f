// One end of a measurement's connection. It spins for a while before it sleeps, as ranks do. No calls but from one thread.
#pragma once

#include <cstddef>

#include "base/result.h"
#include "net/task.h"

namespace cohort::mesh {

// Every call fails with kUnavailable when the connection has ended, and with kTimeout when the deadline has passed.
class ProbeSocket {
 public:
  ProbeSocket(int socket, net::TimePoint deadline) : socket_(socket), deadline_(deadline) {}

  // What goes at once; 0: nothing.
  Result<size_t> receive_some(char* to, size_t size);
  Result<size_t> send_some(const char* from, size_t size);

  // All of it.
  Result<void> receive(char* to, size_t size);
  Result<void> send(const char* from, size_t size);

  void wait_for(short events);  // of poll(); a second at most
  void expect_speed();          // the path is a fast one: queue more

 private:
  Result<size_t> check_time() const;

  const int socket_;
  const net::TimePoint deadline_;
};

}  // namespace cohort::mesh
