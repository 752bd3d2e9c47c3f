// Ministral 3: llama with yarn, sliding-window layers, and queries that grow with the logarithm of their position.
#include "models/attention.h"
#include "models/decoder.h"
#include "models/families.h"
#include "models/feed_forward.h"

namespace cohort::models {

Result<std::unique_ptr<Model>> make_ministral3(Loader& loader) {
  COHORT_TRY(const auto config, loader.config<DecoderConfig>());
  if (!config.rope_parameters || !config.rope_parameters->original_max_position_embeddings) {
    return fail(Code::kInvalidArgument,
                "config.json: rope_parameters.original_max_position_embeddings is missing");
  }
  COHORT_TRY_VOID(check_positive("rope_parameters.original_max_position_embeddings",
                                 *config.rope_parameters->original_max_position_embeddings));
  COHORT_TRY(const auto rope, load_rope(loader, config, config.head_size()));
  return load_decoder(
      loader, config, [&](int index, const std::string& prefix) -> Result<std::unique_ptr<Layer>> {
        COHORT_TRY(auto attention,
                   load_attention(loader, prefix + ".self_attn",
                                  {.width = config.hidden_size,
                                   .heads = config.num_attention_heads,
                                   .kv_heads = config.kv_heads(),
                                   .head_dim = config.head_size(),
                                   .rope = rope,
                                   .window = config.window_of(index),
                                   .position_beta = config.rope_parameters->llama_4_scaling_beta,
                                   .original_positions =
                                       *config.rope_parameters->original_max_position_embeddings}));
        COHORT_TRY(auto mlp, load_gated(loader, prefix + ".mlp",
                                        {.width = config.hidden_size,
                                         .intermediate = config.intermediate_size}));
        return pre_norm_layer(loader, prefix, config, std::move(attention), std::move(mlp));
      });
}

}  // namespace cohort::models
