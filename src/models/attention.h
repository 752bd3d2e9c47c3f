// Attention with grouped key/value heads, as most families have it.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "models/block.h"
#include "models/loader.h"

namespace cohort::models {

struct AttentionOptions {
  int width = 0;  // of the residual stream
  int heads = 0, kv_heads = 0, head_dim = 0;
  backend::Rope rope;
  int window = 0;  // 0: sees everything
  bool qkv_bias = false;
  bool output_bias = false;
  bool head_norms = false;  // q_norm and k_norm over each head, before rope
  float norm_eps = 1e-6f;
  bool sinks = false;       // an extra logit a head
  float position_beta = 0;  // queries times 1 + beta ln(1 + floor(position / original_positions))
  int original_positions = 1;
};

// Reads prefix.{q,k,v,o}_proj and what the options add; keeps this rank's heads.
Result<std::unique_ptr<Block>> load_attention(Loader& loader, const std::string& prefix,
                                              const AttentionOptions& options);

}  // namespace cohort::models
