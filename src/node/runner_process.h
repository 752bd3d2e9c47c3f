// One runner child: frames in and out. Knows nothing of what they mean.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "net/child_process.h"
#include "net/task.h"
#include "runner/frames.h"

namespace cohort::node {

class RunnerProcess {
 public:
  static Result<std::unique_ptr<RunnerProcess>> start(net::Executor executor,
                                                      const std::vector<std::string>& command);
  // Use start().
  RunnerProcess(net::Executor executor, net::ChildProcess child);

  // Queued and sent in order; silently dropped once the runner has ended. kTooLarge: over the frame limit.
  template <class T>
  Result<void> send(runner::FrameType type, const T& body) {
    COHORT_TRY(std::string bytes, runner::encode_frame(type, body));
    enqueue(std::move(bytes));
    return {};
  }

  // Reads frames until the runner has ended, and says how: "was killed by signal 9 (Killed)". Call it once; the object
  // must live until it returns. Cancelling it does nothing: kill() the runner.
  net::Task<std::string> run(std::function<void(const runner::Frame&)> on_frame);

  // For a runner that does not do as it should; `why` is what run() then says.
  void kill(std::string why);
  bool killed() const { return !why_killed_.empty(); }
  pid_t pid() const { return child_.pid(); }
  net::TimePoint last_heard() const { return last_heard_; }

 private:
  void enqueue(std::string bytes);
  net::Task<void> read_loop(std::function<void(const runner::Frame&)>& on_frame);
  net::Task<void> write_loop();

  net::ChildProcess child_;
  net::TimePoint last_heard_ = net::Clock::now();
  std::deque<std::string> outgoing_;
  net::Notification outgoing_changed_;
  net::TaskGroup writing_;
  bool ended_ = false;
  std::string why_killed_;
};

}  // namespace cohort::node
