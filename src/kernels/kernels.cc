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
  int64_t stream_prefetch_bytes = kPrefetchBytes;
};

Available probe() {
  const CpuFeatures features = detect_cpu_features();
  Available available;
  if (features.streams_by_itself) available.stream_prefetch_bytes = 0;
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

int64_t stream_prefetch_bytes() { return available().stream_prefetch_bytes; }

const Kernels& best_kernels() { return *available_kernels().back(); }

const Kernels* find_kernels(std::string_view name) {
  for (const Kernels* kernels : available_kernels()) {
    if (name == kernels->name) return kernels;
  }
  return nullptr;
}

}  // namespace cohort::kernels
