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
};

Available probe() {
  const CpuFeatures features = detect_cpu_features();
  Available available;
  for (const IsaEntry& entry : built_isas()) {
    if (entry.runs_on(features)) available.tables[available.count++] = entry.kernels;
  }
  return available;
}

}  // namespace

std::span<const Kernels* const> available_kernels() {
  static const Available available = probe();
  return {available.tables.data(), available.count};
}

const Kernels& best_kernels() { return *available_kernels().back(); }

const Kernels* find_kernels(std::string_view name) {
  for (const Kernels* kernels : available_kernels()) {
    if (name == kernels->name) return kernels;
  }
  return nullptr;
}

}  // namespace cohort::kernels
