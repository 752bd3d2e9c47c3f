// Checkpoints of a real model's shape with random weights: for speed, which does not depend on what the weights say.
// A folder like any other model's; its tokenizer writes a token as its number.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "base/result.h"

namespace cohort::cli {

struct ModelShape {
  int32_t layers = 0;
  int32_t width = 0;
  int32_t heads = 0;
  int32_t kv_heads = 0;
  int32_t head_dim = 0;
  int32_t feed_forward = 0;
  int32_t vocabulary = 0;
  bool tied = true;     // the head is the embedding's matrix
  int32_t bits = 4;     // 4 or 8: affine in groups of 64; 16: bf16
  int32_t experts = 0;  // 0: dense; else feed_forward is that of one
  int32_t experts_per_token = 0;
  bool mxfp4 = false;  // 4 bits, but MXFP4
};

// "1b-q4": a size (the Llama family's 1b, 3b and 8b, 0.6b of Qwen 3, 0.5b of our own; moe: six layers of Qwen3-30B-A3B
// under a small vocabulary) and a format (q4, q8, bf16, mxfp4).
// kInvalidArgument names those there are.
Result<ModelShape> parse_shape(const std::string& name);

// The same in memory: texts of config.json and model.safetensors.
struct SyntheticFiles {
  std::string config, weights;
};
SyntheticFiles synthetic_files(const ModelShape& shape);

// Writes config.json, tokenizer.json and model.safetensors into `folder`, which is made. The same bytes each time.
Result<void> write_synthetic_model(const ModelShape& shape, const std::filesystem::path& folder);

// The folder of this shape below the user's cache, written on first use.
Result<std::filesystem::path> synthetic_model(const std::string& shape_name);

}  // namespace cohort::cli
