// A child of this process, with one socket between the two. The child never outlives us: not when we stop in order, not
// when we are killed.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include <boost/asio/local/stream_protocol.hpp>

#include "base/result.h"
#include "net/task.h"

namespace cohort::net {

struct ExitStatus {
  int code = 0;
  int signal = 0;  // 0: it exited by itself

  std::string describe() const;  // "exited with code 3", "was killed by signal 9 (Killed)"
};

// The path of the running binary.
std::string self_executable();

// What a command prints to its standard output, once it has ended well. Blocks; the command inherits nothing, does not
// outlive the calling thread, and is killed at the deadline (kTimeout). kTooLarge: it prints more than that.
Result<std::string> output_of(std::vector<std::string> command, size_t max_bytes,
                              TimePoint deadline);

class ChildProcess {
 public:
  // The child's end of the socket has this number; it inherits nothing else but stdin, stdout and stderr.
  static constexpr int kChildSocket = 3;

  // Runs `command` (a path and its arguments), with "--fd 3" behind it, in a process group of its own (a terminal's Ctrl-C
  // is for us alone). The thread that calls is the one the child's life depends on.
  static Result<ChildProcess> spawn(Executor executor, std::vector<std::string> command);

  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&&) = delete;
  ~ChildProcess();  // kills it, if it still runs

  pid_t pid() const { return pid_; }
  asio::local::stream_protocol::socket& socket() { return socket_; }
  void kill(int signal);
  // Until it has exited or the deadline passed (kTimeout). Not cancellable. It polls: call it when the end is near, that
  // is when the socket came to its end or a signal was sent.
  Task<Result<ExitStatus>> wait(TimePoint deadline);

 private:
  ChildProcess(pid_t pid, asio::local::stream_protocol::socket socket);

  pid_t pid_;  // 0: reaped or moved from
  asio::local::stream_protocol::socket socket_;
};

}  // namespace cohort::net
