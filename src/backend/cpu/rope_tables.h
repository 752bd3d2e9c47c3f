// Cosines and sines of a step's rows, made once a step for each kind of rope and used by all its layers.
#pragma once

#include <span>
#include <vector>

#include "backend/cpu/compute.h"

namespace cohort::backend {

class RopeTable {
 public:
  explicit RopeTable(const RopeSpec& spec) : spec_(spec) {}

  // Makes the tables for these positions unless it has done so in this step.
  void prepare(const Compute& compute, int64_t step, std::span<const int32_t> positions);

  int pairs() const { return static_cast<int>(spec_.inverse_frequencies.size()); }
  bool traditional() const { return spec_.traditional; }
  const float* cos(int32_t row) const { return cos_.data() + int64_t{row} * pairs(); }
  const float* sin(int32_t row) const { return sin_.data() + int64_t{row} * pairs(); }

 private:
  RopeSpec spec_;
  int64_t step_ = -1;
  std::vector<float> cos_, sin_;  // times spec_.scale
};

}  // namespace cohort::backend
