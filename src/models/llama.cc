// Llama 2 and 3, Mistral, and what follows their plan: grouped attention, gated feed-forward, norms in front.
#include "models/attention.h"
#include "models/decoder.h"
#include "models/families.h"
#include "models/feed_forward.h"

namespace cohort::models {
namespace {

struct LlamaConfig : DecoderConfig {
  bool attention_bias = false;
  bool mlp_bias = false;

  void fields(auto& visit) {
    DecoderConfig::fields(visit);
    visit("attention_bias", attention_bias);
    visit("mlp_bias", mlp_bias);
  }
};

}  // namespace

Result<std::unique_ptr<Model>> make_llama(Loader& loader) {
  COHORT_TRY(const auto config, loader.config<LlamaConfig>());
  COHORT_TRY(const auto rope, load_rope(loader, config, config.head_size()));
  return load_decoder(
      loader, config, [&](int index, const std::string& prefix) -> Result<std::unique_ptr<Layer>> {
        COHORT_TRY(auto attention, load_attention(loader, prefix + ".self_attn",
                                                  {.width = config.hidden_size,
                                                   .heads = config.num_attention_heads,
                                                   .kv_heads = config.kv_heads(),
                                                   .head_dim = config.head_size(),
                                                   .rope = rope,
                                                   .window = config.window_of(index),
                                                   .qkv_bias = config.attention_bias,
                                                   .output_bias = config.attention_bias}));
        COHORT_TRY(auto mlp, load_gated(loader, prefix + ".mlp",
                                        {.width = config.hidden_size,
                                         .intermediate = config.intermediate_size,
                                         .bias = config.mlp_bias}));
        return pre_norm_layer(loader, prefix, config, std::move(attention), std::move(mlp));
      });
}

}  // namespace cohort::models
