#include "backend/cpu/machine_limits.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>

#include "backend/cpu/worker_pool.h"
#include "base/check.h"
#include "kernels/kernels.h"

namespace cohort::backend {
namespace {

constexpr int64_t kReadBytes = 512ll << 20;
constexpr int64_t kReadGrain = 1 << 20;
constexpr int kReadPasses = 8;
constexpr int64_t kMultiplyRounds = 2'000'000;
constexpr int kMultiplyPasses = 4;

double seconds_of(const std::function<void()>& work) {
  const auto started = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
}

double read_limit(const kernels::ProbeKernels& probe, WorkerPool& pool) {
  const std::unique_ptr<std::byte, decltype(&std::free)> buffer(
      static_cast<std::byte*>(std::aligned_alloc(4096, kReadBytes)), &std::free);
  if (!buffer) return 0;
  std::memset(buffer.get(), 1, kReadBytes);
  double best = 0;
  std::atomic<uint64_t> checksum{0};
  for (int pass = 0; pass < kReadPasses; ++pass) {
    const double seconds = seconds_of([&] {
      pool.for_each(kReadBytes, kReadGrain, [&](int64_t first, int64_t count, int) {
        checksum += probe.read(buffer.get() + first, static_cast<size_t>(count));
      });
    });
    best = std::max(best, static_cast<double>(kReadBytes) / seconds);
  }
  COHORT_CHECK(checksum.load() != 1);  // the reads cannot be left out
  return best;
}

double multiply_limit(double (*multiply)(int64_t rounds), WorkerPool& pool) {
  double best = 0;
  for (int pass = 0; pass < kMultiplyPasses; ++pass) {
    std::atomic<double> operations{0};
    const double seconds = seconds_of([&] {
      pool.for_each(pool.workers(), 1, [&](int64_t, int64_t, int) {
        operations.fetch_add(multiply(kMultiplyRounds));
      });
    });
    best = std::max(best, operations.load() / seconds);
  }
  return best;
}

}  // namespace

MachineLimits measure_machine_limits(int threads, const std::string& kernels) {
  const kernels::Kernels* table = kernels.empty() ? nullptr : kernels::find_kernels(kernels);
  if (table == nullptr) table = &kernels::best_kernels();
  WorkerPool pool(std::max(threads, 1));
  return {.read_bytes_per_s = read_limit(table->probe, pool),
          .fast_operations_per_s = multiply_limit(table->probe.multiply_fast, pool),
          .f32_operations_per_s = multiply_limit(table->probe.multiply_f32, pool)};
}

}  // namespace cohort::backend
