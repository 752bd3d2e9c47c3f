// Rotary frequencies from the ways checkpoints describe them.
#pragma once

#include <optional>
#include <string>

#include "backend/backend.h"
#include "base/result.h"

namespace cohort::models {

// config.json's "rope_scaling", or "rope_parameters", which holds the theta too.
struct RopeScaling {
  std::optional<std::string> type, rope_type;
  std::optional<float> rope_theta;
  float factor = 1.0f;
  float low_freq_factor = 1.0f;  // llama3
  float high_freq_factor = 4.0f;
  std::optional<int> original_max_position_embeddings;  // llama3: 8192, yarn: 4096 when absent
  float beta_fast = 32.0f;                              // yarn
  float beta_slow = 1.0f;
  float mscale = 1.0f;
  float mscale_all_dim = 0.0f;
  float llama_4_scaling_beta = 0.0f;  // ministral3

  std::string kind() const { return type.value_or(rope_type.value_or("default")); }

  void fields(auto& visit) {
    visit("type", type);
    visit("rope_type", rope_type);
    visit("rope_theta", rope_theta);
    visit("factor", factor);
    visit("low_freq_factor", low_freq_factor);
    visit("high_freq_factor", high_freq_factor);
    visit("original_max_position_embeddings", original_max_position_embeddings);
    visit("beta_fast", beta_fast);
    visit("beta_slow", beta_slow);
    visit("mscale", mscale);
    visit("mscale_all_dim", mscale_all_dim);
    visit("llama_4_scaling_beta", llama_4_scaling_beta);
  }
};

// `dims` rotated dimensions. kUnsupported names an unknown kind of scaling, kInvalidArgument an impossible number.
Result<backend::RopeSpec> make_rope_spec(int dims, float theta,
                                         const std::optional<RopeScaling>& scaling,
                                         bool traditional = false);

// yarn's attention factor for a scaling of `factor`: 1 + mscale * ln(factor) / 10.
float yarn_mscale(float factor, float mscale);

}  // namespace cohort::models
