// What the thread that reads the socket hands to the thread that steps the engine.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "engine/engine.h"

namespace cohort::runner {

struct Submission {
  engine::Request request;
  std::string echo;  // sent before the answer of each choice
};
struct Refusal {  // of a request that never reaches the engine
  uint64_t id = 0;
  Error error;
};
struct Cancellation {
  uint64_t id = 0;
};
struct Shutdown {};
using Work = std::variant<Submission, Refusal, Cancellation, Shutdown>;

// Safe from both threads.
class Inbox {
 public:
  static constexpr size_t kCapacity = 16;  // then the reader waits, and with it the daemon's queue

  void push(Work work);  // waits while it is full; drops the work once closed
  // All there is, in order; while there is nothing and it is not closed, waits so long.
  std::vector<Work> take(std::chrono::milliseconds longest_wait);
  void close();  // nothing more will come, or will be taken
  bool closed() const;

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Work> work_;  // guarded by mutex_
  bool closed_ = false;     // guarded by mutex_
};

}  // namespace cohort::runner
