// Notices that the daemon closed its end, while nobody reads from it: so that a wait for other ranks ends too.
#pragma once

#include <atomic>
#include <chrono>
#include <thread>

#include "base/result.h"
#include "transport/fd.h"

namespace cohort::runner {

class HangupWatch {
 public:
  // Borrows the descriptor. The flag rises `grace` after the end: what is under way may come to its own end before.
  HangupWatch(int fd, std::chrono::milliseconds grace);
  ~HangupWatch();
  HangupWatch(const HangupWatch&) = delete;
  HangupWatch& operator=(const HangupWatch&) = delete;

  const std::atomic<bool>& flag() const { return hung_up_; }

 private:
  void watch(int fd, std::chrono::milliseconds grace);

  transport::UniqueFd stop_, stopped_;  // a pipe: its writing end closes to end the thread
  std::atomic<bool> hung_up_{false};
  std::thread thread_;
};

}  // namespace cohort::runner
