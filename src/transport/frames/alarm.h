// One descriptor to sleep on that wakes for several, or at a set time.
#pragma once

#include <chrono>

#include "base/result.h"
#include "transport/fd.h"

namespace cohort::transport {

class Alarm {
 public:
  static Result<Alarm> make();

  Result<void> watch(int fd);  // wakes whenever it is readable
  void forget(int fd);
  void ring_in(std::chrono::microseconds time);  // once, instead of what was set before
  void silence();                                // nothing is set, and what rang is quiet

  int fd() const { return queue_.get(); }

 private:
  UniqueFd queue_, timer_;
};

}  // namespace cohort::transport
