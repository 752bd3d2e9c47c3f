// Multi-head latent attention (deepseek): keys and values of all heads are projections of one small latent, and only the
// latent and one rotated key part are cached. Computed in the absorbed form: queries are brought into the latent's space
// and attention runs there as if there were a single KV head, whose value is the front of its key.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "models/block.h"
#include "models/loader.h"

namespace cohort::models {

struct LatentAttentionOptions {
  int width = 0;
  int heads = 0;
  int q_lora_rank = 0;  // 0: queries are projected directly
  int kv_lora_rank = 0;
  int nope_dim = 0, rope_dim = 0, value_dim = 0;  // of one head
  backend::Rope rope;
  float scale = 1.0f;
  bool bias = false;  // on the first projections and the output
};

// Reads prefix.{q_a_proj,q_a_layernorm,q_b_proj or q_proj, kv_a_proj_with_mqa,kv_a_layernorm,embed_q,unembed_out,o_proj};
// keeps this rank's heads. The latent is computed and cached on every rank. Checkpoints that still have kv_b_proj, of which
// embed_q and unembed_out are made, are read as well.
Result<std::unique_ptr<Block>> load_latent_attention(Loader& loader, const std::string& prefix,
                                                     const LatentAttentionOptions& options);

}  // namespace cohort::models
