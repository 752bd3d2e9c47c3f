#include "models/halves.h"

#include <algorithm>

#include "base/check.h"

namespace cohort::models {
namespace {

using backend::SequenceRun;
using backend::StepPlan;

constexpr int32_t kRowStep = 32;  // for the kernels' comfort

int32_t rows_of(const StepPlan& plan) { return static_cast<int32_t>(plan.tokens.size()); }

int32_t first_half_rows(const StepPlan& plan) {
  const int32_t half = rows_of(plan) / 2;
  return half < kRowStep ? half : half / kRowStep * kRowStep;
}

// Rows [first, first + count) of the plan.
StepPlan rows_of(const StepPlan& plan, int32_t first, int32_t count) {
  StepPlan part;
  part.tokens.assign(plan.tokens.begin() + first, plan.tokens.begin() + first + count);
  for (const SequenceRun& run : plan.runs) {
    const int32_t from = std::max(run.first_row, first);
    const int32_t to = std::min(run.first_row + run.rows, first + count);
    if (from >= to) continue;
    part.runs.push_back({.first_row = from - first,
                         .rows = to - from,
                         .first_position = run.first_position + (from - run.first_row),
                         .pages = run.pages});
  }
  for (const int32_t row : plan.logits_rows) {
    if (row >= first && row < first + count) part.logits_rows.push_back(row - first);
  }
  return part;
}

}  // namespace

bool can_be_halved(const StepPlan& plan) {
  if (rows_of(plan) < 2) return false;
  return plan.logits_rows.empty() || plan.logits_rows.front() >= first_half_rows(plan);
}

Halves halves_of(const StepPlan& plan) {
  COHORT_CHECK(can_be_halved(plan));
  const int32_t first = first_half_rows(plan);
  return {rows_of(plan, 0, first), rows_of(plan, first, rows_of(plan) - first)};
}

void run_in_halves(Backend& backend, std::span<const std::unique_ptr<Layer>> layers,
                   const Halves& halves, std::array<Tensor, 2>& streams) {
  Tensor* waiting = nullptr;  // for the sum under way
  for (const auto& layer : layers) {
    for (int block = 0; block < layer->blocks(); ++block) {
      for (size_t half = 0; half < halves.size(); ++half) {
        const backend::Scope scope(backend);
        backend.select_rows(halves[half]);
        const Tensor part = layer->forward(backend, block, streams[half]);
        if (waiting) backend.add_sum(*waiting);
        backend.begin_sum(part);
        waiting = &streams[half];
      }
    }
  }
  if (waiting) backend.add_sum(*waiting);
}

}  // namespace cohort::models
