#include "backend/cpu/machine_limits.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "backend/cpu/memory.h"
#include "backend/cpu/worker_pool.h"
#include "base/check.h"
#include "kernels/kernels.h"

namespace cohort::backend {
namespace {

constexpr uint64_t kLeastReadBytes = 32u << 20;
constexpr uint64_t kUncachedBytes = 256u << 20, kMostUncachedBytes = 1u << 30;
constexpr uint64_t kReaderBytes = 256u << 20;  // more takes too long to touch
constexpr int64_t kReadGrain = 1 << 20;
constexpr int64_t kGrainsPerPiece = 2;  // of each thread
constexpr int64_t kMultiplyRounds = 500'000;
constexpr int kWarmUpPasses = 3;
constexpr int kLeastPasses = 2, kMostPasses = 8;
constexpr double kPassesSeconds = 0.25;  // of each figure, beyond the least passes

double seconds_of(const std::function<void()>& work) {
  const auto started = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
}

// The highest of what pass() returns.
double best_of(const std::function<double()>& pass) {
  double best = 0, seconds = 0;
  for (int i = 0; i < kMostPasses && (i < kLeastPasses || seconds < kPassesSeconds); ++i) {
    seconds += seconds_of([&] { best = std::max(best, pass()); });
  }
  return best;
}

// Touched; less if the machine has not the memory.
Result<Pages> make_buffer(uint64_t most) {
  const uint64_t size =
      std::clamp(available_memory_bytes() / 8, kLeastReadBytes, most) / kReadGrain * kReadGrain;
  COHORT_TRY(Pages buffer, Pages::allocate(size));
  std::memset(buffer.data(), 1, size);
  return buffer;
}

// Bytes a second, once through the bytes.
double read_rate(const kernels::ProbeKernels& probe, std::span<const std::byte> bytes,
                 WorkerPool& pool) {
  std::atomic<uint64_t> checksum{0};
  const double seconds = seconds_of([&] {
    pool.for_each(static_cast<int64_t>(bytes.size()), kReadGrain,
                  [&](int64_t first, int64_t count, int) {
                    checksum += probe.read(bytes.data() + first, static_cast<size_t>(count));
                  });
  });
  COHORT_CHECK(checksum.load() != 1);  // the reads cannot be left out
  return static_cast<double>(bytes.size()) / seconds;
}

double read_limit(const kernels::ProbeKernels& probe, const Pages& buffer, WorkerPool& pool) {
  return best_of([&] { return read_rate(probe, {buffer.data(), buffer.size_bytes()}, pool); });
}

double multiply_limit(double (*multiply)(int64_t rounds), WorkerPool& pool) {
  return best_of([&] {
    std::atomic<uint64_t> operations{0};  // not of double: libc++ cannot add to one
    const double seconds = seconds_of([&] {
      pool.for_each(pool.workers(), 1, [&](int64_t, int64_t, int) {
        operations += static_cast<uint64_t>(multiply(kMultiplyRounds));
      });
    });
    return static_cast<double>(operations.load()) / seconds;
  });
}

}  // namespace

// Twice what a cache holds: of half of that again and again, one of 480 MB was seen to keep a tenth.
uint64_t uncached_bytes() {
  return std::clamp(2 * last_level_cache_bytes(), kUncachedBytes, kMostUncachedBytes);
}

double measure_read_bytes_per_s(int threads) {
  WorkerPool pool(std::max(threads, 1));
  const Result<Pages> buffer = make_buffer(uncached_bytes());
  return buffer ? read_limit(kernels::best_kernels().probe, *buffer, pool) : 0;
}

struct MemoryReader::State {
  State(Pages touched, int threads) : buffer(std::move(touched)), pool(threads) {}

  // Of the next piece.
  double seconds_a_byte() {
    const std::byte* begin = buffer.data() + next * piece_bytes;
    next = (next + 1) % pieces;
    return 1 / read_rate(kernels::best_kernels().probe, {begin, piece_bytes}, pool);
  }

  // The mean of as many pieces as there are.
  double pass_seconds_a_byte() {
    double sum = 0;
    for (size_t i = 0; i < pieces; ++i) sum += seconds_a_byte();
    return sum / static_cast<double>(pieces);
  }

  const Pages buffer;
  WorkerPool pool;
  // What is left over behind the last whole piece is not read.
  const size_t piece_bytes = std::min(
      static_cast<size_t>(kGrainsPerPiece * kReadGrain * pool.workers()), buffer.size_bytes());
  const size_t pieces = buffer.size_bytes() / piece_bytes;
  size_t next = 0;
};

MemoryReader::MemoryReader(std::unique_ptr<State> state) : state_(std::move(state)) {}
MemoryReader::MemoryReader(MemoryReader&&) noexcept = default;
MemoryReader::~MemoryReader() = default;

Result<MemoryReader> MemoryReader::create(int threads) {
  COHORT_TRY(Pages buffer, make_buffer(kReaderBytes));
  auto state = std::make_unique<State>(std::move(buffer), std::max(threads, 1));
  state->pass_seconds_a_byte();  // the first reading of fresh pages is slower than any other
  return MemoryReader(std::move(state));
}

double MemoryReader::bytes_per_s() {
  for (int i = 0; i < kWarmUpPasses; ++i) state_->pass_seconds_a_byte();
  return 1 / state_->pass_seconds_a_byte();
}

Result<double> MemoryReader::bytes_per_s(const Window& window) {
  using Clock = std::chrono::steady_clock;
  if (Clock::now() > window.begin)
    return fail(Code::kTimeout, "not ready when the measurement was to begin");
  std::this_thread::sleep_until(window.begin);
  // A mean: what interrupts a reader interrupts a model, too.
  double pieces = 0, seconds_a_byte = 0;
  do {
    seconds_a_byte += state_->seconds_a_byte();
    ++pieces;
  } while (Clock::now() < window.end);
  return pieces / seconds_a_byte;
}

MachineLimits measure_machine_limits(int threads, const std::string& kernels) {
  const kernels::Kernels* table = kernels.empty() ? nullptr : kernels::find_kernels(kernels);
  if (table == nullptr) table = &kernels::best_kernels();
  WorkerPool pool(std::max(threads, 1)), one(1);
  MachineLimits limits{.fast_operations_per_s = multiply_limit(table->probe.multiply_fast, pool),
                       .int8_operations_per_s = multiply_limit(table->probe.dot_i8, pool),
                       .f32_operations_per_s = multiply_limit(table->probe.multiply_f32, pool)};
  const Result<Pages> buffer = make_buffer(uncached_bytes());
  if (!buffer) return limits;
  limits.read_bytes_per_s = read_limit(table->probe, *buffer, pool);
  limits.read_bytes_per_s_one_core =
      pool.workers() == 1 ? limits.read_bytes_per_s : read_limit(table->probe, *buffer, one);
  return limits;
}

}  // namespace cohort::backend
