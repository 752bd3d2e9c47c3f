// What nearly every decoder's config.json says, under its own names. Families add their keys.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "models/rope.h"

namespace cohort::models {

struct DecoderConfig {
  std::string model_type;
  int hidden_size = 0;
  int num_hidden_layers = 0;
  int num_attention_heads = 0;
  std::optional<int> num_key_value_heads;
  std::optional<int> head_dim;
  int intermediate_size = 0;
  int vocab_size = 0;
  int max_position_embeddings = 4096;
  float rms_norm_eps = 1e-6f;
  std::optional<float> rope_theta;
  std::optional<RopeScaling> rope_scaling, rope_parameters;
  std::optional<bool> tie_word_embeddings;  // absent: tied when there is no lm_head
  std::vector<std::string> layer_types;  // "full_attention", "sliding_attention"; empty: all full
  std::optional<int> sliding_window;

  int kv_heads() const { return num_key_value_heads.value_or(num_attention_heads); }
  int head_size() const { return head_dim.value_or(hidden_size / num_attention_heads); }
  const std::optional<RopeScaling>& scaling() const {
    return rope_parameters ? rope_parameters : rope_scaling;
  }
  float theta(float otherwise = 10000.0f) const;
  int window_of(int layer) const;  // 0: the layer sees everything

  // kInvalidArgument names the key that is missing or does not fit the others.
  Result<void> check() const;

  void fields(auto& visit) {
    visit("model_type", model_type);
    visit("hidden_size", hidden_size);
    visit("num_hidden_layers", num_hidden_layers);
    visit("num_attention_heads", num_attention_heads);
    visit("num_key_value_heads", num_key_value_heads);
    visit("head_dim", head_dim);
    visit("intermediate_size", intermediate_size);
    visit("vocab_size", vocab_size);
    visit("max_position_embeddings", max_position_embeddings);
    visit("rms_norm_eps", rms_norm_eps);
    visit("rope_theta", rope_theta);
    visit("rope_scaling", rope_scaling);
    visit("rope_parameters", rope_parameters);
    visit("tie_word_embeddings", tie_word_embeddings);
    visit("layer_types", layer_types);
    visit("sliding_window", sliding_window);
  }
};

// For sizes that a family cannot do without.
Result<void> check_positive(std::string_view key, int value);

}  // namespace cohort::models
