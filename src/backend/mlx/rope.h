// Rotations by a step's positions, with tables of cosines and sines that are made on the host in float32 from the
// checkpoint's own frequencies: MLX's fast::rope takes periods instead, and their rounding shows at long contexts.
#pragma once

#include <optional>
#include <span>

#include "backend/backend.h"
#include "backend/mlx/core.h"

namespace cohort::backend::mlx_parts {

class RopeTable {
 public:
  explicit RopeTable(const RopeSpec& spec) : spec_(spec) {}
  int dims() const { return spec_.dims; }

  // The tables of a step's rows, made on first use.
  void begin_step() { tables_.reset(); }
  // x [rows, columns]: the first dims() of each head of `head_dim` columns, `skip` columns into it.
  mx::array rotate(const mx::array& x, std::span<const int32_t> positions, int head_dim, int skip);

 private:
  struct
      Tables {  // [rows, 1, 2, pairs], or [rows, 1, pairs, 2] when traditional; both sides of a pair, times spec_.scale
    mx::array cosines, sines;  // sines of the first side are negative
  };
  Tables make(std::span<const int32_t> positions) const;

  RopeSpec spec_;
  std::optional<Tables> tables_;
};

}  // namespace cohort::backend::mlx_parts
