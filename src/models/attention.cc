#include "models/attention.h"

#include <cmath>

namespace cohort::models {
namespace {

using backend::MatrixPart;

class GroupedAttention final : public Block {
 public:
  static Result<std::unique_ptr<Block>> load(Loader& loader, const std::string& prefix,
                                             const AttentionOptions& options);

  Tensor forward(Backend& backend, Tensor x) const override {
    const int dim = options_.head_dim;
    const Tensor qkv = backend.linear(qkv_, x);
    Tensor q = qkv.slice(0, heads_ * dim);
    Tensor k = qkv.slice(heads_ * dim, kv_heads_ * dim);
    const Tensor v = qkv.slice((heads_ + kv_heads_) * dim, kv_heads_ * dim);
    if (options_.head_norms) {
      q = backend.rms_norm(q, q_norm_, options_.norm_eps, dim);
      k = backend.rms_norm(k, k_norm_, options_.norm_eps, dim);
    }
    backend.rope(q, options_.rope, dim);
    backend.rope(k, options_.rope, dim);
    if (options_.position_beta != 0) {
      backend.scale_by_position(q, options_.position_beta, options_.original_positions);
    }
    Tensor out = backend.linear(output_, backend.attention(q, k, v, attention_));
    return out;
  }

 private:
  Result<void> load_qkv(Loader& loader, const std::string& prefix, const HeadShare& share);
  Result<void> load_extras(Loader& loader, const std::string& prefix, Range query);

  AttentionOptions options_;
  int heads_ = 0, kv_heads_ = 0;  // of this rank
  backend::AttentionSpec attention_;
  backend::Matrix qkv_, output_;
  backend::Vector q_norm_, k_norm_;
};

// Appends the rows of one head.
void take(const MatrixView& view, const std::vector<float>& bias, Range rows,
          std::vector<MatrixPart>& parts, std::vector<float>& biases) {
  parts.push_back(rows_of(view, rows));
  if (!bias.empty()) {
    biases.insert(biases.end(), bias.begin() + rows.first, bias.begin() + rows.end());
  }
}

Result<void> GroupedAttention::load_qkv(Loader& loader, const std::string& prefix,
                                        const HeadShare& share) {
  const int64_t dim = options_.head_dim;
  std::vector<MatrixPart> parts;
  std::vector<float> biases;
  const auto load = [&](const std::string& name, int64_t heads,
                        const std::vector<Range>& kept) -> Result<void> {
    COHORT_TRY(const MatrixView view, loader.view(name, heads * dim, options_.width));
    COHORT_TRY(const auto bias, loader.bias(name, Shape{heads * dim}, options_.qkv_bias));
    for (const Range& run : kept) {
      take(view, bias, {run.first * dim, run.count * dim}, parts, biases);
    }
    return {};
  };
  std::vector<Range> kv_runs;  // neighbours joined, so that the common case is one part
  for (const int64_t kv : share.kv) {
    if (!kv_runs.empty() && kv_runs.back().end() == kv) {
      ++kv_runs.back().count;
    } else {
      kv_runs.push_back({kv, 1});
    }
  }
  COHORT_TRY_VOID(load(prefix + ".q_proj", options_.heads, {share.query}));
  COHORT_TRY_VOID(load(prefix + ".k_proj", options_.kv_heads, kv_runs));
  COHORT_TRY_VOID(load(prefix + ".v_proj", options_.kv_heads, kv_runs));
  COHORT_TRY(qkv_, loader.load_matrix(parts, biases));
  return {};
}

Result<void> GroupedAttention::load_extras(Loader& loader, const std::string& prefix, Range query) {
  if (options_.head_norms) {
    COHORT_TRY(q_norm_, loader.vector(prefix + ".q_norm.weight", options_.head_dim));
    COHORT_TRY(k_norm_, loader.vector(prefix + ".k_norm.weight", options_.head_dim));
  }
  if (options_.sinks) {
    COHORT_TRY(const auto sinks, loader.floats(prefix + ".sinks", Shape{options_.heads}));
    COHORT_TRY(attention_.sinks,
               loader.backend().load_vector(std::span(sinks).subspan(
                   static_cast<size_t>(query.first), static_cast<size_t>(query.count))));
  }
  return {};
}

Result<std::unique_ptr<Block>> GroupedAttention::load(Loader& loader, const std::string& prefix,
                                                      const AttentionOptions& options) {
  auto block = std::make_unique<GroupedAttention>();
  block->options_ = options;
  const int64_t dim = options.head_dim;
  COHORT_TRY(const MatrixView output,
             loader.view(prefix + ".o_proj", options.width, options.heads * dim));
  COHORT_TRY(const HeadShare share,
             share_of_heads(loader.shard(), {.heads = options.heads,
                                             .kv_heads = options.kv_heads,
                                             .value_dim = dim,
                                             .group_size = output.format.group_size}));
  block->heads_ = static_cast<int>(share.query.count);
  block->kv_heads_ = static_cast<int>(share.kv.size());
  COHORT_TRY_VOID(block->load_qkv(loader, prefix, share));
  COHORT_TRY(block->output_, loader.load_summed(prefix + ".o_proj", output,
                                                {share.query.first * dim, share.query.count * dim},
                                                options.output_bias));
  COHORT_TRY_VOID(block->load_extras(loader, prefix, share.query));
  block->attention_.heads = block->heads_;
  block->attention_.scale = 1.0f / std::sqrt(static_cast<float>(dim));
  block->attention_.window = options.window;
  block->attention_.layer = loader.add_kv_layer(
      {.kv_heads = block->kv_heads_, .key_dim = options.head_dim, .value_dim = options.head_dim});
  return block;
}

}  // namespace

Result<std::unique_ptr<Block>> load_attention(Loader& loader, const std::string& prefix,
                                              const AttentionOptions& options) {
  return GroupedAttention::load(loader, prefix, options);
}

}  // namespace cohort::models
