// The real binary as a child, for tests: a device on a free loopback port with folders of its own, and commands run to
// their end.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/json.h"
#include "net/http_client.h"

namespace cohort::e2e {

struct CommandResult {
  int exit_code = -1;  // 128 + signal when killed
  std::string out;
  std::string err;
};

// Runs `cohort <arguments>` with `input` on standard input; ended by force after two minutes.
CommandResult run_cohort(const std::vector<std::string>& arguments, const std::string& input = "");

class Device {
 public:
  // In a namespace of its own, unless the arguments name one.
  explicit Device(const std::vector<std::string>& more_arguments = {});
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const std::string& url() const { return url_; }
  pid_t pid() const { return pid_; }
  net::HttpClient client() const;
  std::vector<pid_t> runners() const;  // children of the daemon
  uint64_t rss_bytes() const;          // of the daemon
  void terminate();                    // SIGTERM, waits; exit_code() is set
  int exit_code() const { return exit_code_; }

 private:
  std::filesystem::path folder_;
  pid_t pid_ = -1;
  int exit_code_ = -1;
  std::string url_;
};

uint64_t rss_bytes_of(pid_t pid);

Json chat_body(const std::string& prompt, bool stream);
// The text of a collected or streamed (concatenated) chat answer; fails the test when the call does, on an error event,
// and when a stream breaks off. `after_event` is told how many events of the stream have come.
std::string chat(const Device& device, const Json& body,
                 const std::function<void(int events)>& after_event = {});

// The parsed body of a GET; fails the test when the call does.
Json get(const Device& device, const std::string& path);

// Polls a condition that another process brings about; every look is a request, so nothing sleeps.
bool eventually(const auto& holds, int looks = 2000) {
  for (int look = 0; look < looks; ++look) {
    if (holds()) return true;
  }
  return false;
}

// From tests/data/demo/golden.json.
struct Golden {
  std::string prompt;
  std::string answer;
};
std::vector<Golden> demo_golden();

}  // namespace cohort::e2e
