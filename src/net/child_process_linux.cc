#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "base/check.h"
#include "net/child_process.h"

namespace cohort::net {
namespace {

using LocalSocket = asio::local::stream_protocol::socket;

constexpr int kExecFailed = 127;
constexpr std::chrono::milliseconds kPollInterval{5};

// Between fork and exec: async-signal-safe calls only.
[[noreturn]] void become(char* const* argv, int socket, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(kExecFailed);  // it died before the line above
  ::setpgid(0, 0);
  if (socket == ChildProcess::kChildSocket) {
    ::fcntl(socket, F_SETFD, 0);
  } else if (::dup2(socket, ChildProcess::kChildSocket) < 0) {
    ::_exit(kExecFailed);
  }
  ::close_range(ChildProcess::kChildSocket + 1, ~0u, 0);
  ::signal(SIGPIPE, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execv(argv[0], argv);
  ::_exit(kExecFailed);
}

}  // namespace

std::string ExitStatus::describe() const {
  if (signal != 0) return fmt::format("was killed by signal {} ({})", signal, ::strsignal(signal));
  if (code == kExecFailed) return "could not be started";
  return fmt::format("exited with code {}", code);
}

std::string self_executable() {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/exe", error).string();
}

Result<ChildProcess> ChildProcess::spawn(Executor executor, std::vector<std::string> command) {
  COHORT_CHECK(!command.empty());
  command.insert(command.end(), {"--fd", std::to_string(kChildSocket)});
  std::vector<char*> argv;
  for (std::string& argument : command) argv.push_back(argument.data());
  argv.push_back(nullptr);
  if (::access(argv[0], X_OK) != 0) {
    return fail(Code::kUnavailable, "cannot start {}: {}", command[0], ::strerror(errno));
  }
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
    return fail(Code::kUnavailable, "cannot start {}: {}", command[0], ::strerror(errno));
  }
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid == 0) become(argv.data(), pair[1], parent);
  const int fork_error = errno;
  ::close(pair[1]);
  if (pid < 0) {
    ::close(pair[0]);
    return fail(Code::kUnavailable, "cannot start {}: {}", command[0], ::strerror(fork_error));
  }
  return ChildProcess(pid, LocalSocket(executor, asio::local::stream_protocol(), pair[0]));
}

ChildProcess::ChildProcess(pid_t pid, LocalSocket socket) : pid_(pid), socket_(std::move(socket)) {}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, 0)), socket_(std::move(other.socket_)) {}

ChildProcess::~ChildProcess() {
  if (pid_ == 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

void ChildProcess::kill(int signal) {
  if (pid_ != 0) ::kill(pid_, signal);
}

Task<Result<ExitStatus>> ChildProcess::wait(TimePoint deadline) {
  COHORT_CHECK(pid_ != 0);
  Notification never(socket_.get_executor());
  for (;;) {
    int status = 0;
    const pid_t reaped = ::waitpid(pid_, &status, WNOHANG);
    if (reaped != 0) {
      pid_ = 0;
      if (reaped < 0) co_return ExitStatus{};  // somebody else reaped it
      co_return ExitStatus{.code = WIFEXITED(status) ? WEXITSTATUS(status) : 0,
                           .signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0};
    }
    if (Clock::now() >= deadline) co_return fail(Code::kTimeout, "process {} still runs", pid_);
    co_await never.wait_uncancelled(Clock::now() + kPollInterval);
  }
}

}  // namespace cohort::net
