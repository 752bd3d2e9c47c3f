// Qwen 3, dense and mixture: queries and keys are normed head by head before they are rotated.
#include <algorithm>

#include "models/attention.h"
#include "models/decoder.h"
#include "models/families.h"
#include "models/feed_forward.h"

namespace cohort::models {
namespace {

constexpr float kTheta = 1e6f;

struct Qwen3MoeConfig : DecoderConfig {
  int num_experts = 0;
  int num_experts_per_tok = 0;
  int moe_intermediate_size = 0;
  int decoder_sparse_step = 1;
  std::vector<int> mlp_only_layers;
  bool norm_topk_prob = false;

  bool is_mixture(int layer) const {
    const bool dense =
        std::ranges::find(mlp_only_layers, layer) != mlp_only_layers.end() || num_experts == 0;
    return !dense && (layer + 1) % decoder_sparse_step == 0;
  }
  Result<void> check() const {
    COHORT_TRY_VOID(check_positive("decoder_sparse_step", decoder_sparse_step));
    return DecoderConfig::check();
  }
  void fields(auto& visit) {
    DecoderConfig::fields(visit);
    visit("num_experts", num_experts);
    visit("num_experts_per_tok", num_experts_per_tok);
    visit("moe_intermediate_size", moe_intermediate_size);
    visit("decoder_sparse_step", decoder_sparse_step);
    visit("mlp_only_layers", mlp_only_layers);
    visit("norm_topk_prob", norm_topk_prob);
  }
};

Result<std::unique_ptr<Block>> attention_of(Loader& loader, const DecoderConfig& config,
                                            backend::Rope rope, int index,
                                            const std::string& prefix) {
  return load_attention(loader, prefix + ".self_attn",
                        {.width = config.hidden_size,
                         .heads = config.num_attention_heads,
                         .kv_heads = config.kv_heads(),
                         .head_dim = config.head_size(),
                         .rope = rope,
                         .window = config.window_of(index),
                         .head_norms = true,
                         .norm_eps = config.rms_norm_eps});
}

Result<std::unique_ptr<Block>> dense_of(Loader& loader, const DecoderConfig& config,
                                        const std::string& prefix) {
  return load_gated(loader, prefix + ".mlp",
                    {.width = config.hidden_size, .intermediate = config.intermediate_size});
}

Result<std::unique_ptr<Block>> mixture_of(Loader& loader, const Qwen3MoeConfig& config,
                                          const std::string& prefix) {
  return load_mixture(loader, prefix + ".mlp",
                      {.width = config.hidden_size,
                       .intermediate = config.moe_intermediate_size,
                       .experts = config.num_experts,
                       .router = {.scoring = backend::Scoring::kSoftmax,
                                  .top_k = config.num_experts_per_tok,
                                  .normalize = config.norm_topk_prob}});
}

}  // namespace

Result<std::unique_ptr<Model>> make_qwen3(Loader& loader) {
  COHORT_TRY(const auto config, loader.config<DecoderConfig>());
  COHORT_TRY(const auto rope, load_rope(loader, config, config.head_size(), kTheta));
  return load_decoder(
      loader, config, [&](int index, const std::string& prefix) -> Result<std::unique_ptr<Layer>> {
        COHORT_TRY(auto attention, attention_of(loader, config, rope, index, prefix));
        COHORT_TRY(auto mlp, dense_of(loader, config, prefix));
        return pre_norm_layer(loader, prefix, config, std::move(attention), std::move(mlp));
      });
}

Result<std::unique_ptr<Model>> make_qwen3_moe(Loader& loader) {
  COHORT_TRY(const auto config, loader.config<Qwen3MoeConfig>());
  COHORT_TRY(const auto rope, load_rope(loader, config, config.head_size(), kTheta));
  return load_decoder(
      loader, config, [&](int index, const std::string& prefix) -> Result<std::unique_ptr<Layer>> {
        COHORT_TRY(auto attention, attention_of(loader, config, rope, index, prefix));
        COHORT_TRY(auto mlp, config.is_mixture(index) ? mixture_of(loader, config, prefix)
                                                      : dense_of(loader, config, prefix));
        return pre_norm_layer(loader, prefix, config, std::move(attention), std::move(mlp));
      });
}

}  // namespace cohort::models
