#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <system_error>

#include "net/child_process.h"
#include "net/start_process.h"

namespace cohort::net {
namespace {

// Between fork and exec: async-signal-safe calls only, here and below.
void die_with(pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(kExecFailed);  // it died before the line above
  ::setpgid(0, 0);
}

[[noreturn]] void execute(char* const* argv) {
  ::signal(SIGPIPE, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execv(argv[0], argv);
  ::_exit(kExecFailed);
}

[[noreturn]] void become(char* const* argv, int socket, pid_t parent) {
  die_with(parent);
  if (socket == ChildProcess::kChildSocket) {
    ::fcntl(socket, F_SETFD, 0);
  } else if (::dup2(socket, ChildProcess::kChildSocket) < 0) {
    ::_exit(kExecFailed);
  }
  ::close_range(ChildProcess::kChildSocket + 1, ~0u, 0);
  execute(argv);
}

[[noreturn]] void become_printer(char* const* argv, int output, pid_t parent) {
  die_with(parent);
  const int nothing = ::open("/dev/null", O_RDWR);
  ::dup2(nothing, STDIN_FILENO);
  ::dup2(output, STDOUT_FILENO);
  ::dup2(nothing, STDERR_FILENO);
  ::close_range(STDERR_FILENO + 1, ~0u, 0);
  execute(argv);
}

}  // namespace

std::string self_executable() {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/exe", error).string();
}

pid_t start_process(std::vector<std::string>& command, const Inherited& inherited) {
  std::vector<char*> argv;
  argv.reserve(command.size() + 1);
  for (std::string& argument : command) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  if (inherited.socket >= 0) become(argv.data(), inherited.socket, parent);
  become_printer(argv.data(), inherited.output, parent);
}

bool make_pipe(int ends[2]) { return ::pipe2(ends, O_CLOEXEC) == 0; }

bool make_socket_pair(int ends[2]) {
  return ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0;
}

}  // namespace cohort::net
