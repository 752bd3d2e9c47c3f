#pragma once

#include <chrono>
#include <deque>
#include <optional>

namespace cohort::node {

// When a crashed runner starts again. Pure: time is an argument.
class RestartPolicy {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;
  struct Options {
    std::chrono::milliseconds first_delay{250};  // doubles with each crash
    std::chrono::milliseconds max_delay{8'000};
    size_t max_crashes = 5;  // within the window; that many and it stays down
    std::chrono::milliseconds window{600'000};
  };
  explicit RestartPolicy(Options options) : options_(options) {}

  // How long to wait before the next start; nullopt: give up.
  std::optional<std::chrono::milliseconds> on_crash(TimePoint now);
  size_t crashes() const { return crashes_.size(); }  // within the window, at the last crash

 private:
  Options options_;
  std::deque<TimePoint> crashes_;
};

}  // namespace cohort::node
