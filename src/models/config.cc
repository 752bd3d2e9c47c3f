#include "models/config.h"

namespace cohort::models {

float DecoderConfig::theta(float otherwise) const {
  if (rope_parameters && rope_parameters->rope_theta) return *rope_parameters->rope_theta;
  return rope_theta.value_or(otherwise);
}

int DecoderConfig::window_of(int layer) const {
  if (layer_types.empty() || layer_types[layer] != "sliding_attention") return 0;
  return sliding_window.value_or(0);
}

Result<void> check_positive(std::string_view key, int value) {
  if (value > 0) return {};
  return fail(Code::kInvalidArgument, "config.json: {} is {}, or missing", key, value);
}

Result<void> DecoderConfig::check() const {
  COHORT_TRY_VOID(check_positive("hidden_size", hidden_size));
  COHORT_TRY_VOID(check_positive("num_hidden_layers", num_hidden_layers));
  COHORT_TRY_VOID(check_positive("num_attention_heads", num_attention_heads));
  COHORT_TRY_VOID(check_positive("num_key_value_heads", kv_heads()));
  COHORT_TRY_VOID(check_positive("vocab_size", vocab_size));
  COHORT_TRY_VOID(check_positive("max_position_embeddings", max_position_embeddings));
  if (num_attention_heads % kv_heads() != 0) {
    return fail(Code::kInvalidArgument,
                "config.json: {} num_attention_heads are no multiple of {} num_key_value_heads",
                num_attention_heads, kv_heads());
  }
  COHORT_TRY_VOID(check_positive("head_dim", head_size()));
  if (!layer_types.empty() && layer_types.size() != static_cast<size_t>(num_hidden_layers)) {
    return fail(Code::kInvalidArgument, "config.json: layer_types lists {} of {} layers",
                layer_types.size(), num_hidden_layers);
  }
  for (const std::string& type : layer_types) {
    if (type == "full_attention") continue;
    if (type != "sliding_attention") {
      return fail(Code::kUnsupported, "config.json: layer_types has '{}'", type);
    }
    COHORT_TRY_VOID(check_positive("sliding_window", sliding_window.value_or(0)));
  }
  return {};
}

}  // namespace cohort::models
