#include "backend/cpu/collectives.h"

#include <algorithm>

#include "base/check.h"

namespace cohort::backend {
namespace {

bool is_packed(const Rows& rows) { return rows.rows == 1 || rows.stride == rows.columns; }

size_t size_of(const Rows& rows) { return static_cast<size_t>(rows.rows) * rows.columns; }

void copy_rows(const Rows& from, const Rows& to) {
  for (int32_t r = 0; r < from.rows; ++r) std::copy_n(from.row(r), from.columns, to.row(r));
}

Rows packed_rows(float* data, int32_t rows, int32_t columns) {
  return {.data = data, .stride = columns, .rows = rows, .columns = columns};
}

}  // namespace

void Collectives::all_sum(Rows values) {
  if (error_) return;
  const transport::Deadline deadline = transport::Deadline::after(kLimit);
  if (is_packed(values)) return keep(group_->all_sum({values.data, size_of(values)}, deadline));
  packed_.resize(size_of(values));
  const Rows packed = packed_rows(packed_.data(), values.rows, values.columns);
  copy_rows(values, packed);
  keep(group_->all_sum(packed_, deadline));
  copy_rows(packed, values);
}

void Collectives::all_gather(Rows part, std::span<const int32_t> columns, Rows all) {
  COHORT_CHECK(static_cast<int>(columns.size()) == group_->size());
  COHORT_CHECK(columns[static_cast<size_t>(group_->rank())] == part.columns);
  if (error_) return;
  // The parts come one after the other; with one row that is side by side.
  if (all.rows != 1) packed_.resize(size_of(all));
  float* const parts = all.rows == 1 ? all.data : packed_.data();
  sizes_.clear();
  float* own = parts;
  for (size_t rank = 0; rank < columns.size(); ++rank) {
    const size_t floats = static_cast<size_t>(part.rows) * columns[rank];
    if (static_cast<int>(rank) < group_->rank()) own += floats;
    sizes_.push_back(floats * sizeof(float));
  }
  copy_rows(part, packed_rows(own, part.rows, part.columns));
  keep(group_->all_gather(std::as_bytes(std::span(own, size_of(part))), sizes_,
                          std::as_writable_bytes(std::span(parts, size_of(all))),
                          transport::Deadline::after(kLimit)));
  if (parts == all.data) return;
  float* from = parts;
  for (int32_t first = 0; const int32_t count : columns) {
    copy_rows(packed_rows(from, all.rows, count),
              {.data = all.data + first, .stride = all.stride, .rows = all.rows, .columns = count});
    from += static_cast<size_t>(all.rows) * count;
    first += count;
  }
}

Result<void> Collectives::status() const {
  if (error_) return tl::unexpected(*error_);
  return {};
}

void Collectives::keep(Result<void> done) {
  if (!done && !error_) error_ = std::move(done).error();
}

}  // namespace cohort::backend
