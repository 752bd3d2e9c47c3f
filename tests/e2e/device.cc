#include "e2e/device.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <sstream>

namespace cohort::e2e {
namespace {

constexpr int kCommandLimitMs = 120'000;

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

pid_t spawn(const std::vector<std::string>& arguments, int in, int out, int err) {
  const pid_t pid = fork();
  if (pid != 0) return pid;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (in >= 0) dup2(in, 0);
  if (out >= 0) dup2(out, 1);
  if (err >= 0) dup2(err, 2);
  std::vector<char*> argv;
  std::string program = COHORT_BINARY;
  argv.push_back(program.data());
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  execv(program.c_str(), argv.data());
  _exit(127);
}

int exit_code_of(int status) {
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// Reads until the other end closes or the limit passes.
std::string drain(int fd, int limit_ms) {
  std::string text;
  char buffer[65536];
  pollfd waiting{fd, POLLIN, 0};
  while (poll(&waiting, 1, limit_ms) > 0) {
    const ssize_t count = read(fd, buffer, sizeof(buffer));
    if (count <= 0) break;
    text.append(buffer, static_cast<size_t>(count));
  }
  return text;
}

std::string read_line(int fd, int limit_ms) {
  std::string line;
  pollfd waiting{fd, POLLIN, 0};
  char c = 0;
  while (poll(&waiting, 1, limit_ms) > 0 && read(fd, &c, 1) == 1 && c != '\n') line += c;
  return line;
}

struct Pipe {
  int read_end = -1, write_end = -1;
  explicit Pipe(bool inherit_write_end) {
    int ends[2] = {-1, -1};
    EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
    read_end = ends[0];
    write_end = ends[1];
    if (inherit_write_end) fcntl(write_end, F_SETFD, 0);
  }
  void close_write() {
    if (write_end >= 0) close(std::exchange(write_end, -1));
  }
  ~Pipe() {
    close_write();
    close(read_end);
  }
};

std::filesystem::path fresh_folder() {
  std::string name = (std::filesystem::temp_directory_path() / "cohort-test-XXXXXX").string();
  EXPECT_NE(mkdtemp(name.data()), nullptr);
  return name;
}

}  // namespace

CommandResult run_cohort(const std::vector<std::string>& arguments, const std::string& input) {
  CommandResult result;
  const std::filesystem::path folder = fresh_folder();
  std::ofstream(folder / "in") << input;
  const int in = open((folder / "in").c_str(), O_RDONLY | O_CLOEXEC);
  const int err = open((folder / "err").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  Pipe out(false);
  const pid_t pid = spawn(arguments, in, out.write_end, err);
  out.close_write();
  result.out = drain(out.read_end, kCommandLimitMs);
  int status = 0;
  if (waitpid(pid, &status, WNOHANG) == 0) {
    if (result.out.empty()) kill(pid, SIGALRM);
    waitpid(pid, &status, 0);
  }
  result.exit_code = exit_code_of(status);
  result.err = read_file(folder / "err");
  close(in);
  close(err);
  std::filesystem::remove_all(folder);
  return result;
}

Device::Device(const std::vector<std::string>& more_arguments) : folder_(fresh_folder()) {
  Pipe ready(true);
  std::vector<std::string> arguments = {
      "serve",      "--port",         "0",
      "--data-dir", folder_.string(), "--mesh-port",
      "0",          "--ready-fd",     std::to_string(ready.write_end)};
  if (std::ranges::find(more_arguments, "--namespace") == more_arguments.end()) {
    arguments.insert(arguments.end(), {"--namespace", folder_.filename().string()});
  }
  arguments.insert(arguments.end(), more_arguments.begin(), more_arguments.end());
  pid_ = spawn(arguments, -1, -1, -1);
  ready.close_write();
  url_ = read_line(ready.read_end, kCommandLimitMs);
  EXPECT_NE(url_, "") << "the device did not start";
}

Device::~Device() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

void Device::terminate() {
  kill(pid_, SIGTERM);
  int status = 0;
  waitpid(pid_, &status, 0);
  exit_code_ = exit_code_of(status);
  pid_ = -1;
}

net::HttpClient Device::client() const {
  return net::HttpClient({.base_url = url_, .timeout = std::chrono::milliseconds(kCommandLimitMs)});
}

std::vector<pid_t> Device::runners() const {
  std::vector<pid_t> children;
  const std::string tasks = "/proc/" + std::to_string(pid_) + "/task";
  for (const auto& task : std::filesystem::directory_iterator(tasks)) {
    std::istringstream ids(read_file(task.path() / "children"));
    for (pid_t id; ids >> id;) {
      const std::string command = read_file("/proc/" + std::to_string(id) + "/cmdline");
      if (command.find(std::string("\0runner\0", 8)) != std::string::npos) children.push_back(id);
    }
  }
  return children;
}

uint64_t Device::rss_bytes() const { return rss_bytes_of(pid_); }

uint64_t rss_bytes_of(pid_t pid) {
  std::istringstream lines(read_file("/proc/" + std::to_string(pid) + "/status"));
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("VmRSS:")) return std::stoull(line.substr(6)) << 10;
  }
  return 0;
}

Json chat_body(const std::string& prompt, bool stream) {
  return Json{{"model", "demo"},
              {"messages", Json::array({Json{{"role", "user"}, {"content", prompt}}})},
              {"temperature", 0},
              {"stream", stream}};
}

Json get(const Device& device, const std::string& path) {
  const auto reply = device.client().call({.path = path});
  EXPECT_TRUE(reply) << reply.error().message;
  return reply ? parse_json(reply->body).value() : Json();
}

std::string chat(const Device& device, const Json& body,
                 const std::function<void(int events)>& after_event) {
  net::HttpClient client = device.client();
  const net::HttpCall call{
      .method = "POST", .path = "/v1/chat/completions", .body = dump_json(body)};
  std::string text;
  if (!body.value("stream", false)) {
    const auto reply = client.call(call);
    if (!reply || reply->status != 200) {
      ADD_FAILURE() << (reply ? reply->body : reply.error().message);
      return "";
    }
    return parse_json(reply->body).value()["choices"][0]["message"]["content"].get<std::string>();
  }
  int events = 0;
  bool done = false;
  const auto reply = client.stream_lines(call, [&](std::string_view line) {
    if (line == "data: [DONE]") done = true;
    if (!line.starts_with("data: {")) return true;
    if (++events; after_event) after_event(events);
    const Json event = parse_json(line.substr(6)).value();
    EXPECT_FALSE(event.contains("error")) << line;
    for (const Json& choice : event.value("choices", Json::array())) {
      const auto content = choice["delta"].find("content");
      if (content != choice["delta"].end() && content->is_string())
        text += content->get<std::string>();
    }
    return true;
  });
  EXPECT_TRUE(reply) << reply.error().message;
  EXPECT_TRUE(done) << "a stream ends with [DONE]";
  return text;
}

std::vector<Golden> demo_golden() {
  const Json file = parse_json(read_file(COHORT_SOURCE_DIR "/tests/data/demo/golden.json")).value();
  std::vector<Golden> golden;
  for (const Json& entry : file) {
    if (entry["messages"].size() != 1) continue;
    golden.push_back(
        {entry["messages"][0]["content"].get<std::string>(), entry["expected"].get<std::string>()});
  }
  return golden;
}

}  // namespace cohort::e2e
