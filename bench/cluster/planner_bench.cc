// How long planning takes: 8 unlike devices (bound: 50 ms) and 1,000 (bound: 1 s).
#include <benchmark/benchmark.h>

#include <string>

#include "cluster/planner.h"

namespace cohort::cluster {
namespace {

// An 80-layer model of 400 GB on `count` devices, no two alike in speed, memory or link.
void plan_unlike_devices(benchmark::State& state) {
  ModelCost model{
      .name = "bench", .width = 8192, .heads = 64, .kv_heads = 8, .max_positions = 8192};
  model.layers.assign(80, {400'000'000, 400'000'000, 1.6e9, 4096});
  const auto count = static_cast<size_t>(state.range(0));
  Topology topology;
  for (size_t i = 0; i < count; ++i) {
    topology.devices.push_back({.id = std::to_string(i),
                                .name = std::to_string(i),
                                .memory_available_bytes = (8 + i % 57) << 30,
                                .read_bytes_per_s = 10e9 + 1e9 * static_cast<double>(i * 7 % 89),
                                .operations_per_s = 1e12});
  }
  for (size_t i = 0; i < count * count; ++i) {
    topology.links.push_back({.reachable = true,
                              .round_trip_s = 20e-6 + 1e-6 * static_cast<double>(i * 31 % 977),
                              .bytes_per_s = 1e9});
  }
  for (auto _ : state) benchmark::DoNotOptimize(plan(model, topology, {}));
}
BENCHMARK(plan_unlike_devices)->Arg(2)->Arg(8)->Arg(1000)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace cohort::cluster
