// The moment by which a wait must have ended.
#pragma once

#include <algorithm>
#include <chrono>

namespace cohort::transport {

class Deadline {
 public:
  using Clock = std::chrono::steady_clock;

  static Deadline never() { return Deadline(Clock::time_point::max()); }
  static Deadline after(std::chrono::milliseconds time) { return Deadline(Clock::now() + time); }

  bool passed() const { return at_ != Clock::time_point::max() && Clock::now() >= at_; }

  // Time left for poll(2): from 0 up to `limit`, rounded up so that a wait of it does not end early.
  std::chrono::milliseconds left(std::chrono::milliseconds limit) const {
    if (at_ == Clock::time_point::max()) return limit;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(at_ - Clock::now());
    return std::clamp(left, std::chrono::milliseconds(0), limit);
  }

 private:
  explicit Deadline(Clock::time_point at) : at_(at) {}
  Clock::time_point at_;
};

}  // namespace cohort::transport
