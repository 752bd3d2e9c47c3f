#include "net/child_process.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/check.h"
#include "net/start_process.h"

namespace cohort::net {
namespace {

using LocalSocket = asio::local::stream_protocol::socket;

constexpr std::chrono::milliseconds kPollInterval{5};

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

Result<std::string> output_of(std::vector<std::string> command, size_t max_bytes,
                              TimePoint deadline) {
  COHORT_CHECK(!command.empty());
  int ends[2];
  if (!make_pipe(ends)) return fail(Code::kUnavailable, "{}", ::strerror(errno));
  const pid_t pid = start_process(command, {.output = ends[1]});
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
  const auto failed = [&](int error) {
    return fail(Code::kUnavailable, "cannot start {}: {}", command[0], ::strerror(error));
  };
  if (::access(command[0].c_str(), X_OK) != 0) return failed(errno);
  int pair[2];
  if (!make_socket_pair(pair)) return failed(errno);
  const pid_t pid = start_process(command, {.socket = pair[1]});
  const int start_error = errno;
  ::close(pair[1]);
  if (pid < 0) {
    ::close(pair[0]);
    return failed(start_error);
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
