#include "formats/config_limits.h"

#include <string_view>

namespace cohort::formats {
namespace {

struct Limit {
  std::string_view key;
  double min, max;
};

// A few times what the largest published models have.
constexpr Limit kLimits[] = {
    {"hidden_size", 1, 1 << 17},
    {"num_hidden_layers", 1, 1024},
    {"num_attention_heads", 1, 2048},
    {"num_key_value_heads", 1, 2048},
    {"head_dim", 1, 8192},
    {"intermediate_size", 1, 1 << 20},
    {"moe_intermediate_size", 1, 1 << 20},
    {"shared_expert_intermediate_size", 0, 1 << 20},
    {"vocab_size", 1, 1 << 23},
    {"max_position_embeddings", 1, 1 << 28},
    {"sliding_window", 0, 1 << 28},
    {"num_experts", 0, 1 << 14},
    {"num_local_experts", 0, 1 << 14},
    {"n_routed_experts", 0, 1 << 14},
    {"n_shared_experts", 0, 1 << 10},
    {"num_experts_per_tok", 0, 1 << 10},
    {"n_group", 0, 1 << 14},
    {"topk_group", 0, 1 << 14},
    {"kv_lora_rank", 1, 1 << 16},
    {"q_lora_rank", 0, 1 << 16},
    {"qk_rope_head_dim", 0, 8192},
    {"qk_nope_head_dim", 0, 8192},
    {"v_head_dim", 1, 8192},
    {"first_k_dense_replace", 0, 1024},
    {"moe_layer_freq", 1, 1024},
    {"decoder_sparse_step", 1, 1024},
    {"rms_norm_eps", 0, 1},
    {"rope_theta", 1, 1e12},
};

Result<void> check(const Json& object, std::string_view prefix) {
  if (!object.is_object()) return {};
  for (const Limit& limit : kLimits) {
    const auto value = object.find(limit.key);
    if (value == object.end() || !value->is_number()) continue;
    const auto number = value->get<double>();
    if (!(number >= limit.min && number <= limit.max)) {
      return fail(Code::kInvalidArgument, "config.json: {}{} is {}; from {} to {} is believable",
                  prefix, limit.key, value->dump(), limit.min, limit.max);
    }
  }
  return {};
}

}  // namespace

Result<void> check_config_limits(const Json& config) {
  if (!config.is_object()) return fail(Code::kInvalidArgument, "config.json: expected an object");
  COHORT_TRY_VOID(check(config, ""));
  const auto text = config.find("text_config");
  return text == config.end() ? Result<void>{} : check(*text, "text_config.");
}

}  // namespace cohort::formats
