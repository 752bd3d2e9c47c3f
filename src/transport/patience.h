// How long to spin before sleeping. Spinning answers in a microsecond or two, but only while this thread has a core to
// itself: as soon as the clock jumps between two looks at it, somebody else needed the core, and for a while waits sleep
// at once.
#pragma once

#include <chrono>

namespace cohort::transport {

class Patience {
 public:
  using Clock = std::chrono::steady_clock;
  enum class Advice {
    kSpin,   // try again
    kLook,   // look after deadline and peers, then try again
    kSleep,  // in the kernel
  };

  explicit Patience(std::chrono::microseconds spin_time) : spin_time_(spin_time) {}

  void begin_wait() {  // cheap: reads no clock
    spins_ = 0;
    waiting_ = false;
  }
  Advice next();  // after a try that moved nothing; takes a pause of some nanoseconds

 private:
  Advice judge(Clock::time_point now);

  std::chrono::microseconds spin_time_;
  int spins_ = 0;
  bool waiting_ = false;                             // since began_
  bool slept_ = false;                               // since looked_
  Clock::time_point began_, looked_, advised_look_;  // of this wait
  Clock::time_point crowded_until_;
};

}  // namespace cohort::transport
