#include "backend/cpu/rope_tables.h"

#include <cmath>

namespace cohort::backend {

void RopeTable::prepare(const Compute& compute, int64_t step, std::span<const int32_t> positions) {
  if (step == step_) return;
  step_ = step;
  cos_.resize(positions.size() * pairs());
  sin_.resize(positions.size() * pairs());
  constexpr int64_t kCostOfOne = 16;  // in floats of a cheap loop
  for_each_row(
      compute, static_cast<int32_t>(positions.size()), pairs() * kCostOfOne, [&](int32_t row) {
        for (int i = 0; i < pairs(); ++i) {
          const float angle = static_cast<float>(positions[row]) * spec_.inverse_frequencies[i];
          cos_[int64_t{row} * pairs() + i] = std::cos(angle) * spec_.scale;
          sin_[int64_t{row} * pairs() + i] = std::sin(angle) * spec_.scale;
        }
      });
}

}  // namespace cohort::backend
