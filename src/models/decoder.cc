#include "models/decoder.h"

#include <vector>

namespace cohort::models {
namespace {

constexpr int64_t kVocabularyStep =
    64;  // rows of the head that stay together, for the kernels' comfort

class PreNormLayer final : public Layer {
 public:
  struct Norm {
    backend::Vector weight;
    float eps = 0;
  };
  PreNormLayer(Norm input, std::unique_ptr<Block> attention, Norm post,
               std::unique_ptr<Block> feed_forward)
      : input_norm_(input),
        attention_(std::move(attention)),
        post_norm_(post),
        feed_forward_(std::move(feed_forward)) {}

  void forward(Backend& backend, Tensor& h) const override {
    add(backend, h, input_norm_, *attention_);
    add(backend, h, post_norm_, *feed_forward_);
  }

 private:
  static void add(Backend& backend, Tensor& h, const Norm& norm, const Block& block) {
    const backend::Scope scope(backend);
    backend.add(h, block.forward(backend, backend.rms_norm(h, norm.weight, norm.eps)));
  }

  Norm input_norm_;
  std::unique_ptr<Block> attention_;
  Norm post_norm_;
  std::unique_ptr<Block> feed_forward_;
};

class Decoder final : public Model {
 public:
  static Result<std::unique_ptr<Model>> load(Loader& loader, const DecoderConfig& config,
                                             const MakeLayer& make_layer);

  const ModelInfo& info() const override { return info_; }

  Tensor forward(Backend& backend, const backend::StepPlan& plan, Tensor input) override {
    Tensor h = info_.first_stage ? backend.embed(embedding_) : input;
    for (const auto& layer : layers_) layer->forward(backend, h);
    if (!info_.last_stage) return h;
    if (plan.logits_rows.empty()) return Tensor{.columns = info_.vocab_size};
    const Tensor rows = backend.take_rows(h, plan.logits_rows);
    const Tensor logits = backend.linear(head_, backend.rms_norm(rows, norm_, norm_eps_));
    return backend.all_gather(logits, head_rows_);
  }

 private:
  Result<void> load_ends(Loader& loader, const DecoderConfig& config);

  ModelInfo info_;
  backend::Matrix embedding_, head_;
  std::vector<int32_t> head_rows_;  // of each rank
  std::vector<std::unique_ptr<Layer>> layers_;
  backend::Vector norm_;
  float norm_eps_ = 0;
};

Result<void> Decoder::load_ends(Loader& loader, const DecoderConfig& config) {
  const std::string table_name = "model.embed_tokens";
  if (info_.first_stage) {
    COHORT_TRY(const MatrixView table, loader.view(table_name, info_.vocab_size, info_.width));
    COHORT_TRY(embedding_, loader.backend().load_embedding(whole(table)));
  }
  if (!info_.last_stage) return {};
  const bool tied = config.tie_word_embeddings.value_or(!loader.has("lm_head.weight"));
  COHORT_TRY(const MatrixView head,
             loader.view(tied ? table_name : "lm_head", info_.vocab_size, info_.width));
  COHORT_TRY(
      const std::vector<Range> shares,
      shares_of(loader.shard(), head.rows, free_step(loader.shard(), head.rows, kVocabularyStep),
                "rows of the vocabulary"));
  for (const Range& rows : shares) head_rows_.push_back(static_cast<int32_t>(rows.count));
  const backend::MatrixPart part = rows_of(head, shares[static_cast<size_t>(loader.shard().rank)]);
  COHORT_TRY(head_, loader.load_matrix({&part, 1}));
  COHORT_TRY(norm_, loader.vector("model.norm.weight", info_.width));
  norm_eps_ = config.rms_norm_eps;
  return {};
}

Result<std::unique_ptr<Model>> Decoder::load(Loader& loader, const DecoderConfig& config,
                                             const MakeLayer& make_layer) {
  const Shard& shard = loader.shard();
  COHORT_TRY_VOID(check_shard(shard, config.num_hidden_layers));
  const int last = shard.last_layer < 0 ? config.num_hidden_layers : shard.last_layer;
  auto model = std::make_unique<Decoder>();
  model->info_ = {.model_type = config.model_type,
                  .layers = config.num_hidden_layers,
                  .width = config.hidden_size,
                  .vocab_size = config.vocab_size,
                  .max_positions = config.max_position_embeddings,
                  .first_stage = shard.first_layer == 0,
                  .last_stage = last == config.num_hidden_layers};
  for (int i = shard.first_layer; i < last; ++i) {
    COHORT_TRY(auto layer, make_layer(i, fmt::format("model.layers.{}", i)));
    model->layers_.push_back(std::move(layer));
    loader.report_progress(i + 1 - shard.first_layer, last - shard.first_layer);
  }
  COHORT_TRY_VOID(model->load_ends(loader, config));
  model->info_.kv.layers = loader.kv_layers();
  return model;
}

}  // namespace

Result<std::unique_ptr<Model>> load_decoder(Loader& loader, const DecoderConfig& config,
                                            const MakeLayer& make_layer) {
  return Decoder::load(loader, config, make_layer);
}

Result<std::unique_ptr<Layer>> pre_norm_layer(Loader& loader, const std::string& prefix,
                                              const DecoderConfig& config,
                                              std::unique_ptr<Block> attention,
                                              std::unique_ptr<Block> feed_forward) {
  COHORT_TRY(const auto input,
             loader.vector(prefix + ".input_layernorm.weight", config.hidden_size));
  COHORT_TRY(const auto post,
             loader.vector(prefix + ".post_attention_layernorm.weight", config.hidden_size));
  const float eps = config.rms_norm_eps;
  return std::make_unique<PreNormLayer>(PreNormLayer::Norm{input, eps}, std::move(attention),
                                        PreNormLayer::Norm{post, eps}, std::move(feed_forward));
}

Result<backend::Rope> load_rope(Loader& loader, const DecoderConfig& config, int dims,
                                float default_theta, bool traditional) {
  COHORT_TRY(const backend::RopeSpec spec,
             make_rope_spec(dims, config.theta(default_theta), config.scaling(), traditional));
  return loader.backend().make_rope(spec);
}

}  // namespace cohort::models
