#include "kernels/kernels.h"

#include <array>

#include "kernels/cpu_features.h"
#include "kernels/isa/isa.h"

namespace cohort::kernels {
namespace {

constexpr size_t kMaxTables = 8;

struct Available {
  std::array<const Kernels*, kMaxTables> tables{};
  size_t count = 0;
  ReadHabits habits;
};

// By measurement (docs/performance.md).
ReadHabits habits_of(const CpuFeatures& features) {
  ReadHabits habits;
  if (features.streams_by_itself) habits.stream_ahead = habits.probe_ahead = 0;
  if (features.fetches_near) {
    habits = {.in_pairs = true, .stream_ahead = 2048, .others_ahead = 4096, .probe_ahead = 1024};
  }
  return habits;
}

Available probe() {
  const CpuFeatures features = detect_cpu_features();
  Available available;
  available.habits = habits_of(features);
  for (const IsaEntry& entry : built_isas()) {
    if (!entry.runs_on(features)) continue;
    available.tables[available.count++] = entry.kernels;
  }
  return available;
}

const Available& available() {
  static const Available once = probe();
  return once;
}

}  // namespace

std::span<const Kernels* const> available_kernels() {
  return {available().tables.data(), available().count};
}

const ReadHabits& read_habits() { return available().habits; }

const Kernels& best_kernels() { return *available_kernels().back(); }

const Kernels* find_kernels(std::string_view name) {
  for (const Kernels* kernels : available_kernels()) {
    if (name == kernels->name) return kernels;
  }
  return nullptr;
}

}  // namespace cohort::kernels
