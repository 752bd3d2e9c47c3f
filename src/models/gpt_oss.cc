// gpt-oss: biases everywhere, attention sinks, a sliding window in every other layer, and in each layer a mixture whose
// router looks only at the chosen experts' logits.
#include "models/attention.h"
#include "models/decoder.h"
#include "models/families.h"
#include "models/feed_forward.h"

namespace cohort::models {
namespace {

constexpr float kTheta = 150000.0f;

struct GptOssConfig : DecoderConfig {
  int num_local_experts = 0;
  int num_experts_per_tok = 0;

  int window(int layer) const {
    if (!layer_types.empty()) return window_of(layer);
    return layer % 2 == 0 ? sliding_window.value_or(0) : 0;
  }
  void fields(auto& visit) {
    DecoderConfig::fields(visit);
    visit("num_local_experts", num_local_experts);
    visit("num_experts_per_tok", num_experts_per_tok);
  }
};

}  // namespace

Result<std::unique_ptr<Model>> make_gpt_oss(Loader& loader) {
  COHORT_TRY(const auto config, loader.config<GptOssConfig>());
  COHORT_TRY(const auto rope, load_rope(loader, config, config.head_size(), kTheta));
  return load_decoder(
      loader, config, [&](int index, const std::string& prefix) -> Result<std::unique_ptr<Layer>> {
        COHORT_TRY(auto attention, load_attention(loader, prefix + ".self_attn",
                                                  {.width = config.hidden_size,
                                                   .heads = config.num_attention_heads,
                                                   .kv_heads = config.kv_heads(),
                                                   .head_dim = config.head_size(),
                                                   .rope = rope,
                                                   .window = config.window(index),
                                                   .qkv_bias = true,
                                                   .output_bias = true,
                                                   .sinks = true}));
        COHORT_TRY(auto mixture,
                   load_mixture(loader, prefix + ".mlp",
                                {.width = config.hidden_size,
                                 .intermediate = config.intermediate_size,
                                 .experts = config.num_local_experts,
                                 .router = {.scoring = backend::Scoring::kSoftmaxOfChosen,
                                            .top_k = config.num_experts_per_tok},
                                 .activation = backend::Activation::kGptOss,
                                 .bias = true,
                                 .router_name = "router",
                                 .experts_name = "experts"}));
        return pre_norm_layer(loader, prefix, config, std::move(attention), std::move(mixture));
      });
}

}  // namespace cohort::models
