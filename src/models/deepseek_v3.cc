// DeepSeek V3 and R1, Kimi K2: latent attention, and mixtures of many small experts chosen group by group, with one dense
// feed-forward shared by all tokens.
#include <cmath>

#include "models/decoder.h"
#include "models/families.h"
#include "models/feed_forward.h"
#include "models/latent_attention.h"

namespace cohort::models {
namespace {

struct DeepseekConfig : DecoderConfig {
  std::optional<int> q_lora_rank;
  int kv_lora_rank = 0;
  int qk_nope_head_dim = 0, qk_rope_head_dim = 0, v_head_dim = 0;
  bool attention_bias = false;
  std::optional<int> n_routed_experts, n_shared_experts;
  int num_experts_per_tok = 1;
  int moe_intermediate_size = 0;
  int moe_layer_freq = 1;
  int first_k_dense_replace = 0;
  int n_group = 1, topk_group = 1;
  bool norm_topk_prob = true;
  float routed_scaling_factor = 1.0f;

  bool is_mixture(int layer) const {
    return n_routed_experts.value_or(0) > 0 && layer >= first_k_dense_replace &&
           layer % moe_layer_freq == 0;
  }

  // yarn lengthens the softmax's scale as well.
  float attention_scale() const {
    const float plain = 1.0f / std::sqrt(static_cast<float>(qk_nope_head_dim + qk_rope_head_dim));
    if (!scaling() || scaling()->mscale_all_dim == 0) return plain;
    const float mscale = yarn_mscale(scaling()->factor, scaling()->mscale_all_dim);
    return plain * mscale * mscale;
  }

  Result<void> check() const {
    COHORT_TRY_VOID(DecoderConfig::check());
    COHORT_TRY_VOID(check_positive("kv_lora_rank", kv_lora_rank));
    COHORT_TRY_VOID(check_positive("qk_nope_head_dim", qk_nope_head_dim));
    COHORT_TRY_VOID(check_positive("qk_rope_head_dim", qk_rope_head_dim));
    COHORT_TRY_VOID(check_positive("v_head_dim", v_head_dim));
    return check_positive("moe_layer_freq", moe_layer_freq);
  }

  void fields(auto& visit) {
    DecoderConfig::fields(visit);
    visit("q_lora_rank", q_lora_rank);
    visit("kv_lora_rank", kv_lora_rank);
    visit("qk_nope_head_dim", qk_nope_head_dim);
    visit("qk_rope_head_dim", qk_rope_head_dim);
    visit("v_head_dim", v_head_dim);
    visit("attention_bias", attention_bias);
    visit("n_routed_experts", n_routed_experts);
    visit("n_shared_experts", n_shared_experts);
    visit("num_experts_per_tok", num_experts_per_tok);
    visit("moe_intermediate_size", moe_intermediate_size);
    visit("moe_layer_freq", moe_layer_freq);
    visit("first_k_dense_replace", first_k_dense_replace);
    visit("n_group", n_group);
    visit("topk_group", topk_group);
    visit("norm_topk_prob", norm_topk_prob);
    visit("routed_scaling_factor", routed_scaling_factor);
  }
};

Result<std::unique_ptr<Block>> attention_of(Loader& loader, const DeepseekConfig& config,
                                            backend::Rope rope, const std::string& prefix) {
  return load_latent_attention(loader, prefix + ".self_attn",
                               {.width = config.hidden_size,
                                .heads = config.num_attention_heads,
                                .q_lora_rank = config.q_lora_rank.value_or(0),
                                .kv_lora_rank = config.kv_lora_rank,
                                .nope_dim = config.qk_nope_head_dim,
                                .rope_dim = config.qk_rope_head_dim,
                                .value_dim = config.v_head_dim,
                                .rope = rope,
                                .scale = config.attention_scale(),
                                .bias = config.attention_bias});
}

Result<std::unique_ptr<Block>> mixture_of(Loader& loader, const DeepseekConfig& config,
                                          const std::string& prefix) {
  const int shared = config.n_shared_experts.value_or(0);
  return load_mixture(
      loader, prefix + ".mlp",
      {.width = config.hidden_size,
       .intermediate = config.moe_intermediate_size,
       .experts = *config.n_routed_experts,
       .router = {.scoring = backend::Scoring::kGroupedSigmoid,
                  .top_k = config.num_experts_per_tok,
                  .normalize = config.norm_topk_prob && config.num_experts_per_tok > 1,
                  .scale = config.routed_scaling_factor,
                  .groups = config.n_group,
                  .top_groups = config.topk_group},
       .choice_bias_name = "gate.e_score_correction_bias",
       .shared_intermediate = shared * config.moe_intermediate_size});
}

}  // namespace

Result<std::unique_ptr<Model>> make_deepseek_v3(Loader& loader) {
  COHORT_TRY(const auto config, loader.config<DeepseekConfig>());
  COHORT_TRY(const auto rope, load_rope(loader, config, config.qk_rope_head_dim, 10000.0f,
                                        /*traditional=*/true));
  return load_decoder(
      loader, config, [&](int index, const std::string& prefix) -> Result<std::unique_ptr<Layer>> {
        COHORT_TRY(auto attention, attention_of(loader, config, rope, prefix));
        COHORT_TRY(auto mlp, config.is_mixture(index)
                                 ? mixture_of(loader, config, prefix)
                                 : load_gated(loader, prefix + ".mlp",
                                              {.width = config.hidden_size,
                                               .intermediate = config.intermediate_size}));
        return pre_norm_layer(loader, prefix, config, std::move(attention), std::move(mlp));
      });
}

}  // namespace cohort::models
