// What rank 0 tells the other ranks, as bytes (little-endian; u32 and i32):
//
//   u32 kind: 1 step, 2 end (nothing follows)
//   u32 copies, then from and to of each: KV pages copied before the step
//   u32 rows, then a token each
//   u32 runs, then of each: rows, first position, u32 pages and that many pages
//   u32 logits rows, then a row each
//   u32 1: in halves, else 0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "backend/step_plan.h"
#include "base/result.h"

namespace cohort::runner {

struct PageCopy {
  int32_t from = 0;
  int32_t to = 0;
};

struct StepCommand {
  bool end = false;  // the group is over; else
  std::vector<PageCopy> copies;
  backend::StepPlan plan;
};

// What a plan may name at most: beyond it lies other memory.
struct PlanLimits {
  int32_t kv_pages = 0;
  int32_t vocab_size = 0;
  bool has_all_layers = true;  // else no step is run in halves
};

// Replaces `out`. No allocation once `out` has grown to its largest.
void encode_step(std::span<const PageCopy> copies, const backend::StepPlan& plan,
                 std::vector<std::byte>& out);
void encode_end(std::vector<std::byte>& out);

// kDataLoss says what about the bytes is not so; then `command` holds nothing to be used.
Result<void> decode_command(std::span<const std::byte> bytes, const PlanLimits& limits,
                            StepCommand& command);

}  // namespace cohort::runner
