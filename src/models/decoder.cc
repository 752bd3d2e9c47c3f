#include "models/decoder.h"

#include <array>
#include <vector>

#include "base/check.h"
#include "models/halves.h"

namespace cohort::models {
namespace {

constexpr int64_t kVocabularyStep =
    64;                             // rows of the head that stay together, for the kernels' comfort
constexpr int64_t kHeadPieces = 8;  // that a rank sends of its share of the head, one by one

// Rows of the head that one rank multiplies at once.
struct HeadPiece {
  int32_t rank = 0;
  Range rows;
};

// In the order of the vocabulary: a piece of each rank's share, then the next of each.
std::vector<HeadPiece> pieces_of(std::span<const Range> shares, int64_t step) {
  if (shares.size() == 1) return {{.rank = 0, .rows = shares[0]}};
  std::vector<HeadPiece> pieces;
  int64_t first = 0;
  for (int64_t piece = 0; piece < kHeadPieces; ++piece) {
    for (size_t rank = 0; rank < shares.size(); ++rank) {
      const int64_t steps = shares[rank].count / step;
      const int64_t count =
          ((piece + 1) * steps / kHeadPieces - piece * steps / kHeadPieces) * step;
      if (count == 0) continue;
      pieces.push_back({.rank = static_cast<int32_t>(rank), .rows = {first, count}});
      first += count;
    }
  }
  return pieces;
}

class PreNormLayer final : public Layer {
 public:
  struct Part {
    backend::Vector norm;
    float eps = 0;
    std::unique_ptr<Block> block;
  };
  explicit PreNormLayer(std::array<Part, 2> parts) : parts_(std::move(parts)) {}

  int blocks() const override { return static_cast<int>(parts_.size()); }
  Tensor forward(Backend& backend, int block, Tensor h) const override {
    const Part& part = parts_[static_cast<size_t>(block)];
    return part.block->forward(backend, backend.rms_norm(h, part.norm, part.eps));
  }

 private:
  std::array<Part, 2> parts_;
};

class Decoder final : public Model {
 public:
  static Result<std::unique_ptr<Model>> load(Loader& loader, const DecoderConfig& config,
                                             const MakeLayer& make_layer);

  const ModelInfo& info() const override { return info_; }

  Tensor forward(Backend& backend, const backend::StepPlan& plan, Tensor input) override {
    if (plan.in_halves) return forward_in_halves(backend, plan);
    Tensor h = info_.first_stage ? backend.embed(embedding_) : input;
    for (const auto& layer : layers_) {
      for (int block = 0; block < layer->blocks(); ++block) {
        const backend::Scope scope(backend);
        Tensor part = layer->forward(backend, block, h);
        backend.all_sum(part);
        backend.add(h, part);
      }
    }
    return info_.last_stage ? finish(backend, h, plan.logits_rows) : h;
  }

 private:
  Result<void> load_ends(Loader& loader, const DecoderConfig& config);
  Tensor forward_in_halves(Backend& backend, const backend::StepPlan& plan);
  Tensor finish(Backend& backend, Tensor h, std::span<const int32_t> logits_rows) const;
  Tensor logits(Backend& backend, Tensor x) const;
  Tensor send_logits(Backend& backend, Tensor x) const;

  ModelInfo info_;
  Halves halves_;  // of the step
  backend::Matrix embedding_;
  std::vector<HeadPiece> pieces_;      // of all ranks
  std::vector<backend::Matrix> head_;  // our own pieces
  int32_t rank_ = 0;
  std::vector<std::unique_ptr<Layer>> layers_;
  backend::Vector norm_;
  float norm_eps_ = 0;
};

Tensor Decoder::forward_in_halves(Backend& backend, const backend::StepPlan& plan) {
  COHORT_CHECK(info_.first_stage && info_.last_stage);
  halves_ = halves_of(plan);
  std::array<Tensor, 2> streams;
  for (size_t half = 0; half < streams.size(); ++half) {
    backend.select_rows(halves_[half]);
    streams[half] = backend.embed(embedding_);
  }
  run_in_halves(backend, layers_, halves_, streams);
  return finish(backend, streams[1], halves_[1].logits_rows);
}

Tensor Decoder::finish(Backend& backend, Tensor h, std::span<const int32_t> logits_rows) const {
  if (logits_rows.empty()) return Tensor{.columns = info_.vocab_size};
  const Tensor x = backend.rms_norm(backend.take_rows(h, logits_rows), norm_, norm_eps_);
  return rank_ == 0 ? logits(backend, x) : send_logits(backend, x);
}

// Rank 0's: all columns. What others send is taken one own piece later, so that it travels meanwhile, and yet soon: a link
// may hold few of them.
Tensor Decoder::logits(Backend& backend, Tensor x) const {
  if (pieces_.size() == 1) return backend.linear(head_[0], x);
  std::vector<Tensor> parts(pieces_.size());
  size_t received = 0;
  const auto receive_until = [&](size_t end) {
    for (; received < end; ++received) {
      const HeadPiece& piece = pieces_[received];
      if (piece.rank != 0)
        parts[received] =
            backend.receive(piece.rank, x.rows, static_cast<int32_t>(piece.rows.count));
    }
  };
  size_t own = 0;
  for (size_t i = 0; i < pieces_.size(); ++i) {
    if (pieces_[i].rank != 0) continue;
    parts[i] = backend.linear(head_[own++], x);
    receive_until(i);
  }
  receive_until(pieces_.size());
  return backend.concat(parts);
}

Tensor Decoder::send_logits(Backend& backend, Tensor x) const {
  for (const backend::Matrix& piece : head_) backend.send(0, backend.linear(piece, x));
  return Tensor{.columns = info_.vocab_size};
}

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
  const int64_t step = free_step(loader.shard(), head.rows, kVocabularyStep);
  COHORT_TRY(const std::vector<Range> shares,
             shares_of(loader.shard(), head.rows, step, "rows of the vocabulary"));
  pieces_ = pieces_of(shares, step);
  rank_ = loader.shard().rank;
  for (const HeadPiece& piece : pieces_) {
    if (piece.rank != rank_) continue;
    const backend::MatrixPart part = rows_of(head, piece.rows);
    COHORT_TRY(const backend::Matrix matrix, loader.load_matrix({&part, 1}));
    head_.push_back(matrix);
  }
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
  return std::make_unique<PreNormLayer>(
      std::array{PreNormLayer::Part{input, eps, std::move(attention)},
                 PreNormLayer::Part{post, eps, std::move(feed_forward)}});
}

Result<backend::Rope> load_rope(Loader& loader, const DecoderConfig& config, int dims,
                                float default_theta, bool traditional) {
  COHORT_TRY(const backend::RopeSpec spec,
             make_rope_spec(dims, config.theta(default_theta), config.scaling(), traditional));
  return loader.backend().make_rope(spec);
}

}  // namespace cohort::models
