// An activation: arrays [rows, n] side by side. Ranges of columns are taken and replaced as views of whole arrays, so that
// slices of a stacked product cost nothing, and an op in place copies only what it changes.
#pragma once

#include <vector>

#include "backend/mlx/core.h"

namespace cohort::backend::mlx_parts {

class Columns {
 public:
  Columns() = default;  // of an op that failed: nobody may look at it
  explicit Columns(const mx::array& whole) : parts_{whole} {}
  explicit Columns(std::vector<mx::array> parts) : parts_(std::move(parts)) {}

  mx::array take(int first, int count) const;
  void replace(int first, const mx::array& part);
  const std::vector<mx::array>& parts() const { return parts_; }

 private:
  // The arrays that make up [first, first + count), cut where need be.
  std::vector<mx::array> cut(int first, int count) const;

  std::vector<mx::array> parts_;
};

// Columns [first, first + count) of [rows, n].
mx::array columns_of(const mx::array& x, int first, int count);

}  // namespace cohort::backend::mlx_parts
