// The choice of experts for one row: pure functions of its router logits.
#pragma once

#include <cstdint>
#include <span>

#include "backend/backend.h"

namespace cohort::backend {

// Chooses experts.size() == weights.size() == spec.top_k of logits.size(), best first; of equals the lower index.
// `choice_bias`: empty, or one per expert, added to the scores for the choice only (kGroupedSigmoid).
// Overwrites `logits`; `scratch` holds as many floats.
void choose_experts(const RouterSpec& spec, std::span<float> logits,
                    std::span<const float> choice_bias, std::span<float> scratch,
                    std::span<int32_t> experts, std::span<float> weights);

}  // namespace cohort::backend
