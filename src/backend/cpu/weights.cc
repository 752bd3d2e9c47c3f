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

int64_t panel_bytes(const kernels::PackedMatrix& matrix) {
  return kernels::panel_layout(matrix.format, matrix.columns).panel_bytes;
}

size_t size_of(const kernels::PackedMatrix& matrix) {
  return round_up(kernels::packed_size_bytes(matrix.format, matrix.rows, matrix.columns),
                  kernels::kPackedAlignment);
}

// Values of a row each, every half filled up to whole panels, panels of both in turns.
std::vector<float> pair(const std::vector<float>& values) {
  if (values.empty()) return {};
  const size_t half = values.size() / 2;
  std::vector<float> paired(2 * round_up(half, size_t{kernels::kPanelRows}), 0.0f);
  for (size_t i = 0; i < values.size(); ++i) {
    const size_t row = i % half, panel = 2 * (row / kernels::kPanelRows) + i / half;
    paired[panel * kernels::kPanelRows + row % kernels::kPanelRows] = values[i];
  }
  return paired;
}

void pair_halves(Weights& weights) {
  kernels::PackedMatrix& both = weights.segments.front().packed;
  both.rows = 2 * round_up(both.rows, int64_t{kernels::kPanelRows});
  weights.segments.pop_back();
  weights.bias = pair(weights.bias);
  weights.paired = true;
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
  if (!stack.gated) return weights;
  COHORT_CHECK(weights.segments.size() == 2);
  const kernels::PackedMatrix &gate = weights.segments[0].packed, &up = weights.segments[1].packed;
  COHORT_CHECK(gate.rows == up.rows);
  if (gate.format == up.format) pair_halves(weights);
  return weights;
}

}  // namespace

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

// To every panel_step-th panel from `out` on.
void WeightStore::pack_part(const MatrixPart& part, int64_t expert, std::byte* out,
                            int64_t panel_step) {
  const RowRange rows = resolve(part.rows, part.view.rows);
  const RowRange columns = resolve(part.columns, part.view.columns);
  const int64_t step = panel_step * panel_bytes(unpacked(part));
  pool_.for_each(kernels::panel_count(rows.count), kPanelsAGrain,
                 [&](int64_t first, int64_t count, int) {
                   for (int64_t panel = first; panel < first + count; ++panel) {
                     const int64_t row = panel * kernels::kPanelRows;
                     const int64_t left = std::min<int64_t>(kernels::kPanelRows, rows.count - row);
                     kernels::pack_rows(part.view, expert, {rows.first + row, left},
                                        {columns.first, columns.count}, out + panel * step);
                   }
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
    const Stack& stack = stacks[i];
    for (size_t s = 0; s < all[i].segments.size(); ++s) {
      kernels::PackedMatrix& packed = all[i].segments[s].packed;
      packed.panels = at;
      pack_part(stack.parts[s], stack.expert, at, all[i].paired ? 2 : 1);
      if (all[i].paired) pack_part(stack.parts[1], stack.expert, at + panel_bytes(packed), 2);
      at += size_of(packed);
    }
  }
  return all;
}

}  // namespace cohort::backend
