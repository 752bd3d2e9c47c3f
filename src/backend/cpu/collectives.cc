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
  if (is_packed(values)) {
    return wait_in([&] { return group_->all_sum({values.data, size_of(values)}, deadline); });
  }
  packed_.resize(size_of(values));
  const Rows packed = packed_rows(packed_.data(), values.rows, values.columns);
  copy_rows(values, packed);
  wait_in([&] { return group_->all_sum(packed_, deadline); });
  copy_rows(packed, values);
}

void Collectives::begin_sum(Rows values) {
  begun_.resize(size_of(values));
  begun_rows_ = packed_rows(begun_.data(), values.rows, values.columns);
  copy_rows(values, begun_rows_);
  if (!alone() && !error_) keep(group_->begin_sum(begun_));
}

void Collectives::go_on() {
  if (!alone() && !error_) keep(group_->go_on());
}

Rows Collectives::finish_sum() {
  if (!alone() && !error_) {
    wait_in([&] { return group_->finish_sum(transport::Deadline::after(kLimit)); });
  }
  return begun_rows_;
}

void Collectives::send(int to, Rows values) {
  if (error_) return;
  const float* from = values.data;
  if (!is_packed(values)) {
    packed_.resize(size_of(values));
    copy_rows(values, packed_rows(packed_.data(), values.rows, values.columns));
    from = packed_.data();
  }
  keep(group_->send_values(to, {from, size_of(values)}, transport::Deadline::after(kLimit)));
}

void Collectives::receive(int from, Rows values) {
  if (error_) return;
  if (!is_packed(values)) packed_.resize(size_of(values));
  float* const to = is_packed(values) ? values.data : packed_.data();
  wait_in([&] {
    return group_->receive_values(from, {to, size_of(values)}, transport::Deadline::after(kLimit));
  });
  if (to != values.data) copy_rows(packed_rows(to, values.rows, values.columns), values);
}

Result<void> Collectives::status() const {
  if (error_) return tl::unexpected(*error_);
  return {};
}

void Collectives::keep(Result<void> done) {
  if (!done && !error_) error_ = std::move(done).error();
}

}  // namespace cohort::backend
