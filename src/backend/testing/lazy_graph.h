// The graph that the lazy backend records: rows of floats that are computed once, when somebody asks.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <utility>

#include "backend/testing/reference.h"
#include "base/check.h"

namespace cohort::backend::testing {

// Rows of floats that are computed once, when somebody asks. `compute` owns what it is computed from.
class Node {
 public:
  using Compute = std::function<Values()>;
  Node(int32_t rows, int32_t columns, Compute compute)
      : rows_(rows), columns_(columns), compute_(std::move(compute)) {}

  int32_t rows() const { return rows_; }
  int32_t columns() const { return columns_; }
  const Values& values() {
    if (compute_) {
      values_ = std::exchange(compute_, nullptr)();
      COHORT_CHECK(values_.size() == static_cast<size_t>(rows_) * columns_);
    }
    return values_;
  }
  const float* row(int32_t r) { return values().data() + size_t{1} * r * columns_; }

 private:
  int32_t rows_, columns_;
  Compute compute_;
  Values values_;
};
using NodePtr =
    std::shared_ptr<Node>;  // shared by the nodes computed from it; its values never change

inline NodePtr node(int32_t rows, int32_t columns, Node::Compute compute) {
  return std::make_shared<Node>(rows, columns, std::move(compute));
}

using RowFunction = std::function<void(int32_t row, const float* in, float* out)>;
inline NodePtr map_rows(const NodePtr& in, int32_t columns, RowFunction function) {
  return node(in->rows(), columns, [=] {
    Values out(static_cast<size_t>(in->rows()) * columns);
    for (int32_t r = 0; r < in->rows(); ++r) function(r, in->row(r), &out[size_t{1} * r * columns]);
    return out;
  });
}

inline NodePtr slice_of(const NodePtr& whole, int32_t first, int32_t count) {
  if (count == whole->columns()) return whole;
  return map_rows(whole, count, [=](int32_t, const float* in, float* out) {
    std::copy_n(in + first, count, out);
  });
}

inline NodePtr with_columns(const NodePtr& whole, int32_t first, const NodePtr& part) {
  if (part->columns() == whole->columns()) return part;
  return map_rows(whole, whole->columns(), [=](int32_t r, const float* in, float* out) {
    std::copy_n(in, whole->columns(), out);
    std::copy_n(part->row(r), part->columns(), out + first);
  });
}

}  // namespace cohort::backend::testing
