// What a loop costs that is shared out among two workers: waking the other, and waiting for it. The limit is a word that
// goes from one core to the other and back, which is measured in the same run. Leave both cores to it.
//
//   handover     one empty loop after the other, as within a step
//   round_trip   the limit: ping-pong over a cache line
#include <benchmark/benchmark.h>

#include <atomic>
#include <thread>

#include "backend/cpu/worker_pool.h"

namespace cohort::backend {
namespace {

void handover(benchmark::State& state) {
  WorkerPool pool(2);
  std::atomic<int64_t> done{0};
  for (auto _ : state) {
    pool.for_each(2, 1, [&](int64_t, int64_t count, int) {
      done.fetch_add(count, std::memory_order_relaxed);
    });
  }
  state.counters["loops"] = static_cast<double>(done.load()) / 2;
}

void round_trip(benchmark::State& state) {
  constexpr int64_t kStop = -1;
  alignas(64) std::atomic<int64_t> ball{0};
  std::thread other([&] {
    for (int64_t seen = 0; seen != kStop; seen = ball.load(std::memory_order_acquire)) {
      if (seen % 2 == 1) ball.store(seen + 1, std::memory_order_release);
    }
  });
  int64_t next = 1;
  for (auto _ : state) {
    ball.store(next, std::memory_order_release);
    while (ball.load(std::memory_order_acquire) == next) {
    }
    next += 2;
  }
  ball.store(kStop, std::memory_order_release);
  other.join();
}

BENCHMARK(round_trip)->UseRealTime();
BENCHMARK(handover)->UseRealTime();

}  // namespace
}  // namespace cohort::backend
