#include "backend/cpu/weights.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/check.h"

namespace cohort::backend {
namespace {

// Of address space; memory is taken as it is written.
constexpr size_t kChunkBytes = size_t{64} << 20;
constexpr int64_t kPanelsAGrain = 4;

kernels::PackedMatrix unpacked(const MatrixPart& part) {
  return {.format = kernels::packed_format(part.view),
          .rows = resolve(part.rows, part.view.rows).count,
          .columns = resolve(part.columns, part.view.columns).count};
}

size_t size_of(const kernels::PackedMatrix& matrix) {
  return round_up(kernels::packed_size_bytes(matrix.format, matrix.rows, matrix.columns),
                  kernels::kPackedAlignment);
}

Weights plan(const WeightStore::Stack& stack) {
  Weights weights;
  for (const MatrixPart& part : stack.parts) {
    const Segment segment{unpacked(part), weights.rows};
    COHORT_CHECK(weights.columns == 0 || weights.columns == segment.packed.columns);
    weights.columns = static_cast<int32_t>(segment.packed.columns);
    weights.rows += static_cast<int32_t>(segment.packed.rows);
    weights.segments.push_back(segment);
  }
  COHORT_CHECK(stack.bias.empty() || static_cast<int32_t>(stack.bias.size()) == weights.rows);
  weights.bias = stack.bias;
  return weights;
}

}  // namespace

WeightRows rows_of(const Weights& weights, int32_t first, int32_t count) {
  for (const Segment& segment : weights.segments) {
    const int64_t offset = first - segment.first_row;
    if (offset < 0 || offset + count > segment.packed.rows || offset % kernels::kPanelRows != 0)
      continue;
    const kernels::PanelLayout layout =
        kernels::panel_layout(segment.packed.format, segment.packed.columns);
    kernels::PackedMatrix packed = segment.packed;
    packed.panels += offset / kernels::kPanelRows * layout.panel_bytes;
    packed.rows = count;
    return {packed, true};
  }
  return {};
}

Result<std::byte*> WeightStore::allocate(size_t size_bytes) {
  if (size_bytes > left_) {
    COHORT_TRY(Pages chunk, Pages::allocate(std::max(size_bytes, kChunkBytes)));
    left_ = chunk.size_bytes();
    chunks_.push_back(std::move(chunk));
  }
  std::byte* at = chunks_.back().data() + (chunks_.back().size_bytes() - left_);
  left_ -= size_bytes;
  used_bytes_ += size_bytes;
  return at;
}

void WeightStore::pack_part(const MatrixPart& part, int64_t expert, const Segment& segment,
                            std::byte* out) {
  const RowRange rows = resolve(part.rows, part.view.rows);
  const RowRange columns = resolve(part.columns, part.view.columns);
  const int64_t panel_bytes =
      kernels::panel_layout(segment.packed.format, columns.count).panel_bytes;
  pool_.for_each(
      kernels::panel_count(rows.count), kPanelsAGrain, [&](int64_t first, int64_t count, int) {
        const int64_t first_row = first * kernels::kPanelRows;
        const int64_t row_count = std::min(count * kernels::kPanelRows, rows.count - first_row);
        kernels::pack_rows(part.view, expert, {rows.first + first_row, row_count},
                           {columns.first, columns.count}, out + first * panel_bytes);
      });
}

Result<std::vector<Weights>> WeightStore::pack(std::span<const Stack> stacks) {
  std::vector<Weights> all;
  size_t total = 0;
  for (const Stack& stack : stacks) {
    all.push_back(plan(stack));
    for (const Segment& segment : all.back().segments) total += size_of(segment.packed);
  }
  COHORT_TRY_VOID(budget_.reserve("the weights", total));
  COHORT_TRY(std::byte * at, allocate(total));
  for (size_t i = 0; i < all.size(); ++i) {
    for (size_t s = 0; s < all[i].segments.size(); ++s) {
      Segment& segment = all[i].segments[s];
      pack_part(stacks[i].parts[s], stacks[i].expert, segment, at);
      segment.packed.panels = at;
      at += size_of(segment.packed);
    }
  }
  return all;
}

}  // namespace cohort::backend
