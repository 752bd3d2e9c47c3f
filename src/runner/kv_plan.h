// How much context fits into memory: from sizes to a number of KV pages.
#pragma once

#include <cstdint>
#include <string_view>

#include "backend/backend.h"
#include "base/result.h"

namespace cohort::runner {

struct KvWish {
  uint64_t page_bytes = 0;     // of one page over all layers
  uint64_t left_bytes = 0;     // for KV, after the weights and what steps need
  int32_t model_context = 0;   // the checkpoint's limit; 0: says none
  int32_t context_length = 0;  // what the user asks for; 0: as much as the model and memory allow
  int32_t max_sequences = 0;
};
struct KvPlan {
  int32_t context_length = 0;  // of one sequence
  int32_t pages =
      0;  // one sequence of full length always fits; the rest is for others and for reuse
};

// kInvalidArgument: a context that the model does not have. kUnavailable: too little memory; says how much is missing and
// what context would fit.
Result<KvPlan> plan_kv(const KvWish& wish);

Result<backend::KvType> parse_kv_type(std::string_view name);  // f32 | f16 | bf16 | q8

}  // namespace cohort::runner
