#include <fcntl.h>
#include <limits.h>
#include <mach-o/dyld.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "net/child_process.h"
#include "net/start_process.h"

extern char** environ;

namespace cohort::net {
namespace {

// What becomes of our descriptors in the child. With POSIX_SPAWN_CLOEXEC_DEFAULT only those named here stay open.
class FileActions {
 public:
  explicit FileActions(const Inherited& inherited) {
    ::posix_spawn_file_actions_init(&actions_);
    if (inherited.socket >= 0) {
      for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd)
        ::posix_spawn_file_actions_addinherit_np(&actions_, fd);
      ::posix_spawn_file_actions_adddup2(&actions_, inherited.socket, ChildProcess::kChildSocket);
      return;
    }
    ::posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_adddup2(&actions_, inherited.output, STDOUT_FILENO);
    ::posix_spawn_file_actions_addopen(&actions_, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  }
  ~FileActions() { ::posix_spawn_file_actions_destroy(&actions_); }
  FileActions(const FileActions&) = delete;
  FileActions& operator=(const FileActions&) = delete;
  const posix_spawn_file_actions_t* get() const { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_;
};

// A process group of its own, default signals, none of them blocked.
class Attributes {
 public:
  Attributes() {
    ::posix_spawnattr_init(&attributes_);
    ::posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_CLOEXEC_DEFAULT | POSIX_SPAWN_SETPGROUP |
                                                 POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    ::posix_spawnattr_setpgroup(&attributes_, 0);
    sigset_t none, pipe;
    sigemptyset(&none);
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    ::posix_spawnattr_setsigmask(&attributes_, &none);
    ::posix_spawnattr_setsigdefault(&attributes_, &pipe);
  }
  ~Attributes() { ::posix_spawnattr_destroy(&attributes_); }
  Attributes(const Attributes&) = delete;
  Attributes& operator=(const Attributes&) = delete;
  const posix_spawnattr_t* get() const { return &attributes_; }

 private:
  posix_spawnattr_t attributes_;
};

bool keep_from_children(const int ends[2]) {
  return ::fcntl(ends[0], F_SETFD, FD_CLOEXEC) == 0 && ::fcntl(ends[1], F_SETFD, FD_CLOEXEC) == 0;
}

}  // namespace

std::string self_executable() {
  char path[PATH_MAX], real[PATH_MAX];
  uint32_t size = sizeof(path);
  if (::_NSGetExecutablePath(path, &size) != 0) return "";
  return ::realpath(path, real) == nullptr ? path : real;
}

// Spawned, not forked: between fork and exec a process with a GPU's threads can do next to nothing.
pid_t start_process(std::vector<std::string>& command, const Inherited& inherited) {
  std::vector<char*> argv;
  argv.reserve(command.size() + 1);
  for (std::string& argument : command) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const FileActions actions(inherited);
  const Attributes attributes;
  pid_t pid = -1;
  const int error =
      ::posix_spawn(&pid, argv[0], actions.get(), attributes.get(), argv.data(), environ);
  if (error == 0) return pid;
  errno = error;
  return -1;
}

bool make_pipe(int ends[2]) { return ::pipe(ends) == 0 && keep_from_children(ends); }

bool make_socket_pair(int ends[2]) {
  return ::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0 && keep_from_children(ends);
}

}  // namespace cohort::net
