// What this machine could do at best, measured with the threads and instruction set a backend would use: what a benchmark
// stands its figures beside, and what the planner will ask of a device.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "base/result.h"

namespace cohort::backend {

struct MachineLimits {
  double read_bytes_per_s = 0;  // memory read by all threads together
  double read_bytes_per_s_one_core = 0;
  double fast_operations_per_s = 0;  // of prefill's instruction in fast math; a multiply-add is two
  double int8_operations_per_s = 0;
  double f32_operations_per_s = 0;
};

// So many bytes that a cache keeps next to nothing of them from one reading to the next.
uint64_t uncached_bytes();

// Takes a second or two: the best of several passes over a buffer far larger than any cache. `kernels` as in CpuOptions.
MachineLimits measure_machine_limits(int threads, const std::string& kernels = "");

// Of them, what memory gives to so many threads.
double measure_read_bytes_per_s(int threads);

// Reads a buffer piece by piece, again and again, to see what memory gives at this moment. A very large cache keeps part of
// the buffer, as it does of a model's weights. One thread at a time.
class MemoryReader {
 public:
  static Result<MemoryReader> create(int threads);  // touches a buffer larger than caches
  MemoryReader(MemoryReader&&) noexcept;
  ~MemoryReader();

  double bytes_per_s();  // the mean of all pieces, once a cache has what it keeps of them

  struct Window {
    std::chrono::steady_clock::time_point begin, end;
  };
  // Waits for the window; the mean of its pieces. kTimeout: it has begun already.
  Result<double> bytes_per_s(const Window& window);

 private:
  struct State;
  explicit MemoryReader(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace cohort::backend
