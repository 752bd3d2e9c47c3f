// What one step computes, for every rank alike: rows of tokens, each row belonging to a sequence and standing at a
// position. Decode is one row a sequence, a prefill chunk several, speculation several, all in the same plan.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace cohort::backend {

inline constexpr int kPageTokens = 32;  // positions a KV page holds, in every layer

// Rows [first_row, first_row + rows) of the plan are the positions [first_position, first_position + rows) of one
// sequence. Its KV lives in `pages`: position p in page pages[p / kPageTokens], slot p % kPageTokens. The pages cover all
// positions up to the last row's. Attention sees positions 0..own (less what a sliding window hides).
struct SequenceRun {
  int32_t first_row = 0;
  int32_t rows = 0;
  int32_t first_position = 0;
  std::vector<int32_t> pages;
};

struct StepPlan {
  std::vector<int32_t> tokens;       // one a row
  std::vector<SequenceRun> runs;     // in the order of rows, covering all of them
  std::vector<int32_t> logits_rows;  // rows whose logits are wanted, ascending
  // For the ranks of a tensor group: each half of the rows is computed while the other's sums travel (models/halves.h).
  bool in_halves = false;
};

}  // namespace cohort::backend
