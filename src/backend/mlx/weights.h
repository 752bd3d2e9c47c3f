// Weights as MLX arrays: the checkpoint's own packed codes, scales and biases, copied once into MLX's memory row by row and
// never repacked. Parts of one format that are stacked make one array, so that q, k and v are one product.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/memory.h"
#include "backend/mlx/core.h"

namespace cohort::backend::mlx_parts {

// Arrays of one format: [rows, n], or [entries, rows, n] of experts and heads.
struct Segment {
  QuantFormat format;
  mx::array weight;
  std::optional<mx::array> scales, biases;  // of quantised codes
  std::optional<mx::array> bias;            // added to the product: [rows] or [entries, rows]
  mx::Dtype type;                           // what the product is made in
};

struct Linear {
  int rows = 0, columns = 0;
  std::vector<Segment> segments;
};

struct Precision {
  mx::Dtype activations;
  bool widen = false;  // weights, scales and biases to `activations`
};

struct StackOptions {
  std::span<const MatrixPart> parts;  // below each other
  std::span<const float> bias;        // of the stacked rows of each entry; or empty
  std::optional<RowRange> entries =
      {};                 // of the leading axis that all parts have; none: there is no such axis
  bool gathered = false;  // for gather(): its CPU kernels take only float32
};

// Error: the budget's, or MLX's.
Result<Linear> load_linear(const StackOptions& stack, const Precision& precision,
                           MemoryBudget& budget);
uint64_t size_of(const Linear& weights);

// x [.., columns] -> an array [.., rows of the segment] for each segment, of x's type. `in`: the type to compute in, if
// not the segment's. With entries: x [entries, n, columns].
std::vector<mx::array> multiply(const Linear& weights, const mx::array& x,
                                std::optional<mx::Dtype> in = {});

// x [n, k, 1, columns] or [n, 1, 1, columns] times the entries [n, k] -> [n, k, 1, rows]; or, `sorted` by entry,
// x [m, 1, columns] and entries [m] -> [m, 1, rows].
mx::array gather(const Linear& weights, const mx::array& x, const mx::array& entries, bool sorted);

}  // namespace cohort::backend::mlx_parts
