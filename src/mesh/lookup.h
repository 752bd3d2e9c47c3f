// Looks names up without ever being held up by them: a look-up that hangs is left behind on a thread of its own, which owns
// all it touches. Loop thread only.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "net/task.h"

namespace cohort::mesh {

// Numeric addresses of a name; runs on another thread, which may outlive whoever asked.
using Resolve = std::function<Result<std::vector<std::string>>(const std::string& name)>;
Result<std::vector<std::string>> resolve_by_system(const std::string& name);

class Lookups {
 public:
  static constexpr int kMaxRunning = 8;  // those left behind included

  explicit Lookups(net::Executor executor, Resolve resolve = resolve_by_system)
      : executor_(executor), resolve_(std::move(resolve)) {}

  // kUnavailable: unknown, not answered in time, or too many hang already. kCancelled at once when cancelled.
  net::Task<Result<std::vector<std::string>>> find(std::string name, net::TimePoint deadline);

 private:
  struct Side;
  Result<void> start(std::unique_ptr<Side> side, std::string name);

  net::Executor executor_;
  const Resolve resolve_;
  std::shared_ptr<std::atomic<int>> running_ =
      std::make_shared<std::atomic<int>>(0);  // the threads hold it, too
};

}  // namespace cohort::mesh
