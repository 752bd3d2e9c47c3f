#include "backend/mlx/rope.h"

#include <cmath>
#include <vector>

namespace cohort::backend::mlx_parts {

RopeTable::Tables RopeTable::make(std::span<const int32_t> positions) const {
  const size_t pairs = spec_.inverse_frequencies.size(), rows = positions.size();
  std::vector<float> cosines(rows * 2 * pairs), sines(cosines.size());
  const size_t step = spec_.traditional ? 2 : 1, other = spec_.traditional ? 1 : pairs;
  for (size_t r = 0; r < rows; ++r) {
    for (size_t i = 0; i < pairs; ++i) {
      const float angle = static_cast<float>(positions[r]) * spec_.inverse_frequencies[i];
      const size_t first = r * 2 * pairs + i * step, second = first + other;
      cosines[first] = cosines[second] = std::cos(angle) * spec_.scale;
      sines[second] = std::sin(angle) * spec_.scale;
      sines[first] = -sines[second];
    }
  }
  const auto n = static_cast<int>(pairs), r = static_cast<int>(rows);
  const mx::Shape shape = spec_.traditional ? mx::Shape{r, 1, n, 2} : mx::Shape{r, 1, 2, n};
  return {mx::array(cosines.data(), shape, mx::float32),
          mx::array(sines.data(), shape, mx::float32)};
}

mx::array RopeTable::rotate(const mx::array& x, std::span<const int32_t> positions, int head_dim,
                            int skip) {
  if (!tables_) tables_ = make(positions);
  const int rows = x.shape(0), heads = x.shape(1) / head_dim, end = skip + spec_.dims;
  const mx::array all = mx::reshape(x, {rows, heads, head_dim});
  const auto range = [&](int from, int to) {
    return mx::slice(all, {0, 0, from}, {rows, heads, to});
  };
  // [rows, heads, 2, pairs] with its two sides swapped is the same array read backwards along that axis.
  mx::Shape shape = tables_->cosines.shape();
  shape[1] = heads;
  const mx::array sides = mx::reshape(range(skip, end), shape);
  const int axis = spec_.traditional ? 3 : 2;
  mx::Shape from{0, 0, 0, 0}, to = shape, step{1, 1, 1, 1};
  from[axis] = 1;
  to[axis] = -3;
  step[axis] = -1;
  const mx::array swapped = mx::slice(sides, from, to, step);
  const mx::array turned =
      mx::add(mx::multiply(sides, tables_->cosines), mx::multiply(swapped, tables_->sines));
  const mx::array rotated = mx::reshape(mx::astype(turned, x.dtype()), {rows, heads, spec_.dims});
  if (spec_.dims == head_dim) return mx::reshape(rotated, x.shape());
  std::vector<mx::array> parts;
  if (skip > 0) parts.push_back(range(0, skip));
  parts.push_back(rotated);
  if (end < head_dim) parts.push_back(range(end, head_dim));
  return mx::reshape(mx::concatenate(std::move(parts), 2), x.shape());
}

}  // namespace cohort::backend::mlx_parts
