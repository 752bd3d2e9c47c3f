// What the kernel benchmarks share: time, rates beside a limit measured in the same moments, and memory to read.
#pragma once

#include <benchmark/benchmark.h>
#include <sys/mman.h>
#include <time.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"

namespace cohort::kernels {

constexpr size_t kFarBytes = size_t{512} << 20;  // next to nothing of it stays in a cache
constexpr int64_t kProbeRounds = 20000;

inline double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

// Of this thread, so that what else runs on the core does not count.
double seconds_of(const auto& work) {
  const double start = thread_seconds();
  work();
  return thread_seconds() - start;
}

inline double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<long>(values.size() / 2),
                   values.end());
  return values[values.size() / 2];
}

// Amounts (bytes, operations) a second of a kernel and of its limit.
class Rates {
 public:
  void add(double amount, double seconds, double limit_amount, double limit_seconds) {
    rates_.push_back(amount / seconds);
    limits_.push_back(limit_amount / limit_seconds);
  }
  void report(benchmark::State& state, const char* unit) const {
    const double best = *std::max_element(rates_.begin(), rates_.end());
    const double best_limit = *std::max_element(limits_.begin(), limits_.end());
    state.counters[unit] = median(rates_) / 1e9;
    state.counters["best"] = best / 1e9;
    state.counters["limit"] = median(limits_) / 1e9;
    state.counters["of_limit"] = median(rates_) / median(limits_);
    state.counters["best_of_best"] = best / best_limit;
  }

 private:
  std::vector<double> rates_, limits_;
};

// In huge pages where the system gives them, as a backend's weights are.
class HugeBytes {
 public:
  explicit HugeBytes(size_t size) : size_(size) {
    void* data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    COHORT_CHECK(data != MAP_FAILED);
#ifdef MADV_HUGEPAGE
    madvise(data, size, MADV_HUGEPAGE);
#endif
    data_ = static_cast<std::byte*>(data);
  }
  HugeBytes(HugeBytes&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(other.size_) {}
  ~HugeBytes() {
    if (data_ != nullptr) munmap(data_, size_);
  }
  std::byte* data() const { return data_; }

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

template <class... Args>
void add_benchmark(const std::string& name, Args... args) {
  benchmark::RegisterBenchmark(name.c_str(), args...)
      ->UseManualTime()
      ->Unit(benchmark::kMillisecond)
      ->MinTime(0.3);
}

// Each file's own.
void add_products();
void add_attention();

}  // namespace cohort::kernels
