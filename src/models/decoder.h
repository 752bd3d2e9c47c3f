// The frame of a decoder: embedding, layers, last norm, head.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "models/block.h"
#include "models/config.h"
#include "models/loader.h"
#include "models/model.h"

namespace cohort::models {

// Makes layer `index` of the whole model from the tensors under `prefix` ("model.layers.3").
using MakeLayer =
    std::function<Result<std::unique_ptr<Layer>>(int index, const std::string& prefix)>;

// Loads this shard: model.embed_tokens, the layers, model.norm and lm_head (or the tied embedding), as far as they are its
// own. Vocabulary rows of the head are shared out among the ranks.
Result<std::unique_ptr<Model>> load_decoder(Loader& loader, const DecoderConfig& config,
                                            const MakeLayer& make_layer);

// h += attention(norm(h)); h += feed_forward(norm(h)), with input_layernorm and post_attention_layernorm under `prefix`.
Result<std::unique_ptr<Layer>> pre_norm_layer(Loader& loader, const std::string& prefix,
                                              const DecoderConfig& config,
                                              std::unique_ptr<Block> attention,
                                              std::unique_ptr<Block> feed_forward);

// The rope of a config over `dims` dimensions, made once for all layers.
Result<backend::Rope> load_rope(Loader& loader, const DecoderConfig& config, int dims,
                                float default_theta = 10000.0f, bool traditional = false);

}  // namespace cohort::models
