#include "cli/private_device.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#ifdef __linux__
#include <sys/prctl.h>
#endif

namespace cohort::cli {
namespace {

constexpr int kStartTimeoutMs = 10'000;

std::vector<std::string> serve_arguments(const StoreOptions& store, int ready_fd) {
  std::vector<std::string> arguments = {"cohort", "serve",      "--alone",
                                        "--port", "0",          "--log-level",
                                        "error",  "--ready-fd", std::to_string(ready_fd)};
  if (!store.data_dir.empty()) {
    arguments.insert(arguments.end(), {"--data-dir", store.data_dir.string()});
  }
  for (const auto& dir : store.models_dirs) {
    arguments.insert(arguments.end(), {"--models-dir", dir.string()});
  }
  if (store.offline) arguments.emplace_back("--offline");
  return arguments;
}

[[noreturn]] void become_device(std::vector<std::string> arguments) {
#ifdef __linux__
  prctl(PR_SET_PDEATHSIG, SIGTERM);
#endif
  setpgid(0, 0);  // an interrupt typed at the terminal is the command's to handle
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  execv("/proc/self/exe", argv.data());
  _exit(127);
}

// The one line the device writes when it listens: its URL.
Result<std::string> read_ready_line(int fd) {
  std::string line;
  while (line.empty() || line.back() != '\n') {
    pollfd waiting{fd, POLLIN, 0};
    const int ready = poll(&waiting, 1, kStartTimeoutMs);
    if (ready == 0)
      return fail(Code::kTimeout, "the private device did not start in {} s",
                  kStartTimeoutMs / 1000);
    if (ready < 0 && errno == EINTR) return fail(Code::kCancelled, "interrupted");
    char buffer[256];
    const ssize_t count = read(fd, buffer, sizeof(buffer));
    if (count <= 0) return fail(Code::kUnavailable, "the private device ended before it was ready");
    line.append(buffer, static_cast<size_t>(count));
  }
  line.pop_back();
  return line;
}

}  // namespace

Result<PrivateDevice> PrivateDevice::start(const StoreOptions& store) {
  int ends[2];
  if (pipe(ends) != 0) return fail(Code::kInternal, "pipe: {}", std::strerror(errno));
  fcntl(ends[0], F_SETFD, FD_CLOEXEC);
  std::vector<std::string> arguments = serve_arguments(store, ends[1]);
  const pid_t pid = fork();
  if (pid < 0) return fail(Code::kInternal, "fork: {}", std::strerror(errno));
  if (pid == 0) become_device(std::move(arguments));
  close(ends[1]);
  PrivateDevice device(pid, "");
  Result<std::string> url = read_ready_line(ends[0]);
  close(ends[0]);
  if (!url) return tl::unexpected<Error>(url.error());
  device.url_ = std::move(*url);
  return device;
}

PrivateDevice::PrivateDevice(PrivateDevice&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), url_(std::move(other.url_)) {}

PrivateDevice::~PrivateDevice() {
  if (pid_ <= 0) return;
  kill(pid_, SIGTERM);
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace cohort::cli
