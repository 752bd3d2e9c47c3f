// Qwen 2 and 2.5: llama with a bias on q, k and v.
#include "models/attention.h"
#include "models/decoder.h"
#include "models/families.h"
#include "models/feed_forward.h"

namespace cohort::models {
namespace {

constexpr float kTheta = 1e6f;

}  // namespace

Result<std::unique_ptr<Model>> make_qwen2(Loader& loader) {
  COHORT_TRY(const auto config, loader.config<DecoderConfig>());
  COHORT_TRY(const auto rope, load_rope(loader, config, config.head_size(), kTheta));
  return load_decoder(
      loader, config, [&](int index, const std::string& prefix) -> Result<std::unique_ptr<Layer>> {
        COHORT_TRY(auto attention, load_attention(loader, prefix + ".self_attn",
                                                  {.width = config.hidden_size,
                                                   .heads = config.num_attention_heads,
                                                   .kv_heads = config.kv_heads(),
                                                   .head_dim = config.head_size(),
                                                   .rope = rope,
                                                   .window = config.window_of(index),
                                                   .qkv_bias = true}));
        COHORT_TRY(auto mlp, load_gated(loader, prefix + ".mlp",
                                        {.width = config.hidden_size,
                                         .intermediate = config.intermediate_size}));
        return pre_norm_layer(loader, prefix, config, std::move(attention), std::move(mlp));
      });
}

}  // namespace cohort::models
