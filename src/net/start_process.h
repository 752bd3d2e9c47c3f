// What starting a process takes of each platform; child_process.h is for everybody else.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace cohort::net {

inline constexpr int kExecFailed =
    127;  // what a process that could not become the command exits with

// One of the two; nothing else that is open here stays open there, but for standard input, output and error with `socket`.
struct Inherited {
  int socket = -1;  // becomes ChildProcess::kChildSocket
  int output = -1;  // becomes standard output; standard input and error lead nowhere
};

// Runs command[0], a path, with default signals and in a process group of its own. It does not outlive the calling thread:
// Linux kills it then; on macOS it sees the other end of its socket or pipe close, and a runner ends itself when it does.
// -1: errno says why.
pid_t start_process(std::vector<std::string>& command, const Inherited& inherited);

// Neither end is inherited. false: errno says why.
bool make_pipe(int ends[2]);
bool make_socket_pair(int ends[2]);

}  // namespace cohort::net
