// How long a thing takes, measured in a bounded time, however slow the device.
#pragma once

#include <algorithm>
#include <chrono>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace cohort::cli {

// How much is measured. Either bound ends it; one try is always made.
struct Patience {
  int tries = 40;
  std::chrono::duration<double> most = std::chrono::milliseconds(500);
};

// The median: what `work` takes, rather than what it takes when all goes well. The first tries only warm up, unless they
// take all the time there is. `between` comes before each, untimed. `Clock` is one of std::chrono's, or a test's.
template <class Clock = std::chrono::steady_clock, class Work, class Between = decltype([] {})>
Result<double> median_seconds(const Patience& patience, Work work, Between between = {}) {
  using Seconds = std::chrono::duration<double>;
  std::vector<double> times;
  const auto began = Clock::now();
  for (int i = -patience.tries / 8; i < patience.tries; ++i) {
    between();
    const auto started = Clock::now();
    COHORT_TRY_VOID(work());
    const auto ended = Clock::now();
    const bool late = Seconds(ended - began) >= patience.most;
    if (i >= 0 || late) times.push_back(Seconds(ended - started).count());
    if (late) break;
  }
  const auto middle = times.begin() + static_cast<ptrdiff_t>(times.size() / 2);
  std::nth_element(times.begin(), middle, times.end());
  return *middle;
}

// For measurements that follow each other: what is left of the time for all of them.
template <class Clock = std::chrono::steady_clock>
class Deadline {
 public:
  explicit Deadline(std::chrono::seconds all) : all_(all), ends_(Clock::now() + all) {}

  bool over() const { return Clock::now() >= ends_; }

  // kUnavailable once it is over; `next` is what would be measured.
  Result<void> check(std::string_view next) const {
    if (!over()) return {};
    return fail(Code::kUnavailable,
                "this device is too slow to measure: {} s were over before {}; leave it to other "
                "devices, or choose another --backend",
                all_.count(), next);
  }

 private:
  std::chrono::seconds all_;
  typename Clock::time_point ends_;
};

}  // namespace cohort::cli
