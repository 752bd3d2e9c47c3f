#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
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

// All that comes until the other end closes.
Result<std::string> read_all(int fd, size_t max_bytes, TimePoint deadline) {
  std::string text;
  char buffer[4096];
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    pollfd waiting{fd, POLLIN, 0};
    const int ready = ::poll(&waiting, 1, static_cast<int>(std::max<int64_t>(0, left.count())));
    if (ready == 0) return fail(Code::kTimeout, "it did not end in time");
    if (ready < 0 && errno == EINTR) continue;
    const ssize_t count = ::read(fd, buffer, sizeof buffer);
    if (count < 0) return fail(Code::kUnavailable, "{}", ::strerror(errno));
    if (count == 0) return text;
    text.append(buffer, static_cast<size_t>(count));
    if (text.size() > max_bytes) return fail(Code::kTooLarge, "it prints over {} bytes", max_bytes);
  }
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

Result<std::string> output_of(std::vector<std::string> command, size_t max_bytes,
                              TimePoint deadline) {
  COHORT_CHECK(!command.empty());
  std::vector<char*> argv;
  for (std::string& argument : command) argv.push_back(argument.data());
  argv.push_back(nullptr);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail(Code::kUnavailable, "{}", ::strerror(errno));
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid == 0) become_printer(argv.data(), ends[1], parent);
  ::close(ends[1]);
  Result<std::string> text = fail(Code::kUnavailable, "it cannot be started");
  if (pid > 0) text = read_all(ends[0], max_bytes, deadline);
  ::close(ends[0]);
  if (pid < 0) return text;
  if (!text) ::kill(pid, SIGKILL);
  int status = 0;
  ::waitpid(pid, &status, 0);
  if (text && status != 0) return fail(Code::kUnavailable, "it failed");
  return text;
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
