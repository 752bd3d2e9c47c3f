#include "models/latent_attention.h"

#include <array>
#include <vector>

#include "base/bytes.h"

namespace cohort::models {
namespace {

using backend::MatrixPart;

constexpr float kNormEps = 1e-6f;  // whatever the config says of other norms

class LatentAttention final : public Block {
 public:
  static Result<std::unique_ptr<Block>> load(Loader& loader, const std::string& prefix,
                                             const LatentAttentionOptions& options);

  Tensor forward(Backend& backend, Tensor x) const override {
    const LatentAttentionOptions& o = options_;
    const Tensor down =
        backend.linear(down_, x);  // [query latent or queries | kv latent | key rope]
    const int query_columns = down.columns - o.kv_lora_rank - o.rope_dim;
    Tensor queries = down.slice(0, query_columns);
    if (o.q_lora_rank > 0) {
      queries = backend.linear(query_up_, backend.rms_norm(queries, query_norm_, kNormEps));
    }
    const Tensor nope = queries.slice(0, heads_ * o.nope_dim);
    Tensor rotated = queries.slice(heads_ * o.nope_dim, heads_ * o.rope_dim);
    backend.rope(rotated, o.rope, o.rope_dim);
    const std::array query = {backend.head_linear(embed_query_, nope), rotated};

    Tensor key_rotated = down.slice(query_columns + o.kv_lora_rank, o.rope_dim);
    backend.rope(key_rotated, o.rope, o.rope_dim);
    const std::array key = {
        backend.rms_norm(down.slice(query_columns, o.kv_lora_rank), latent_norm_, kNormEps),
        key_rotated};

    const Tensor latent =
        backend.attention(backend.concat(query, heads_), backend.concat(key), Tensor{}, attention_);
    Tensor out = backend.linear(output_, backend.head_linear(unembed_, latent));
    return out;
  }

 private:
  Result<void> load_down(Loader& loader, const std::string& prefix, Range heads);
  Result<void> load_heads(Loader& loader, const std::string& prefix, Range heads);
  Result<void> load_heads_of_kv_b(Loader& loader, const std::string& name, Range heads);

  LatentAttentionOptions options_;
  int heads_ = 0;  // of this rank
  backend::AttentionSpec attention_;
  backend::Matrix down_, query_up_, embed_query_, unembed_, output_;
  backend::Vector query_norm_, latent_norm_;
};

// The checkpoint has [nope | rope] head by head; we want all heads' nope rows, then all heads' rope rows, so that each is
// one slice of the result.
void take_queries(const MatrixView& view, const LatentAttentionOptions& options, Range heads,
                  std::vector<MatrixPart>& parts) {
  const int64_t head_rows = options.nope_dim + options.rope_dim;
  for (int64_t h = heads.first; h < heads.end(); ++h) {
    parts.push_back(rows_of(view, {h * head_rows, options.nope_dim}));
  }
  for (int64_t h = heads.first; h < heads.end(); ++h) {
    parts.push_back(rows_of(view, {h * head_rows + options.nope_dim, options.rope_dim}));
  }
}

Result<void> LatentAttention::load_down(Loader& loader, const std::string& prefix, Range heads) {
  const LatentAttentionOptions& o = options_;
  const int64_t query_rows = int64_t{o.heads} * (o.nope_dim + o.rope_dim);
  const int64_t kv_rows = o.kv_lora_rank + o.rope_dim;
  std::vector<MatrixPart> parts;
  std::vector<float> biases;
  if (o.q_lora_rank > 0) {
    COHORT_TRY(const MatrixView a, loader.view(prefix + ".q_a_proj", o.q_lora_rank, o.width));
    COHORT_TRY(biases, loader.bias(prefix + ".q_a_proj", Shape{o.q_lora_rank}, o.bias));
    parts.push_back(whole(a));
    COHORT_TRY(query_norm_, loader.vector(prefix + ".q_a_layernorm.weight", o.q_lora_rank));
    COHORT_TRY(const MatrixView b, loader.view(prefix + ".q_b_proj", query_rows, o.q_lora_rank));
    std::vector<MatrixPart> up;
    take_queries(b, o, heads, up);
    COHORT_TRY(query_up_, loader.load_matrix(up));
  } else {
    COHORT_TRY(const MatrixView q, loader.view(prefix + ".q_proj", query_rows, o.width));
    take_queries(q, o, heads, parts);
    if (o.bias) biases.resize(static_cast<size_t>(heads.count * (o.nope_dim + o.rope_dim)));
  }
  const std::string kv_name = prefix + ".kv_a_proj_with_mqa";
  COHORT_TRY(const MatrixView kv, loader.view(kv_name, kv_rows, o.width));
  COHORT_TRY(const auto kv_bias, loader.bias(kv_name, Shape{kv_rows}, o.bias));
  parts.push_back(whole(kv));
  biases.insert(biases.end(), kv_bias.begin(), kv_bias.end());
  COHORT_TRY(down_, loader.load_matrix(parts, biases));
  COHORT_TRY(latent_norm_, loader.vector(prefix + ".kv_a_layernorm.weight", o.kv_lora_rank));
  return {};
}

// One matrix a head, in memory of its own. BF16 where that loses nothing that matters (the source is BF16 or quantised).
class HeadMatrices {
 public:
  HeadMatrices(const MatrixView& source, int64_t heads, int64_t rows, int64_t columns)
      : dtype_(source.weight.dtype == DType::kBF16 || source.format.mode != QuantMode::kNone
                   ? DType::kBF16
                   : DType::kF32),
        shape_{heads, rows, columns},
        bytes_(static_cast<size_t>(shape_.elements()) * dtype_size(dtype_)) {}

  void set(int64_t head, int64_t row, int64_t column, float value) {
    const auto index = static_cast<size_t>((head * shape_[1] + row) * shape_[2] + column);
    if (dtype_ == DType::kBF16) {
      store(bytes_.data() + index * sizeof(uint16_t), float_to_bf16(value));
    } else {
      store(bytes_.data() + index * sizeof(float), value);
    }
  }
  MatrixView view() const {
    return {.experts = shape_[0],
            .rows = shape_[1],
            .columns = shape_[2],
            .weight = {bytes_.data(), dtype_, shape_}};
  }

 private:
  DType dtype_;
  Shape shape_;
  std::vector<std::byte> bytes_;
};

// kv_b_proj holds, head by head, nope_dim rows that make keys of the latent and value_dim rows that make values.
Result<void> LatentAttention::load_heads_of_kv_b(Loader& loader, const std::string& name,
                                                 Range heads) {
  const LatentAttentionOptions& o = options_;
  const int64_t head_rows = o.nope_dim + o.value_dim, latent = o.kv_lora_rank;
  COHORT_TRY(const MatrixView source, loader.view(name, o.heads * head_rows, latent));
  HeadMatrices embed(source, heads.count, latent, o.nope_dim);
  HeadMatrices unembed(source, heads.count, o.value_dim, latent);
  std::vector<float> row(static_cast<size_t>(latent));
  for (int64_t i = 0; i < heads.count * head_rows; ++i) {
    dequantize_row(source, 0, heads.first * head_rows + i, row.data());
    const int64_t head = i / head_rows, r = i % head_rows;
    for (int64_t c = 0; c < latent; ++c) {
      if (r < o.nope_dim) {
        embed.set(head, c, r, row[c]);
      } else {
        unembed.set(head, r - o.nope_dim, c, row[c]);
      }
    }
  }
  COHORT_TRY(embed_query_, loader.load_head_matrices(embed.view()));
  COHORT_TRY(unembed_, loader.load_head_matrices(unembed.view()));
  return {};
}

Result<void> LatentAttention::load_heads(Loader& loader, const std::string& prefix, Range heads) {
  const LatentAttentionOptions& o = options_;
  if (loader.has(prefix + ".kv_b_proj.weight")) {
    return load_heads_of_kv_b(loader, prefix + ".kv_b_proj", heads);
  }
  COHORT_TRY(const MatrixView embed,
             loader.view(prefix + ".embed_q", o.kv_lora_rank, o.nope_dim, o.heads));
  COHORT_TRY(const MatrixView unembed,
             loader.view(prefix + ".unembed_out", o.value_dim, o.kv_lora_rank, o.heads));
  COHORT_TRY(embed_query_, loader.load_head_matrices(experts_of(embed, heads)));
  COHORT_TRY(unembed_, loader.load_head_matrices(experts_of(unembed, heads)));
  return {};
}

Result<std::unique_ptr<Block>> LatentAttention::load(Loader& loader, const std::string& prefix,
                                                     const LatentAttentionOptions& options) {
  auto block = std::make_unique<LatentAttention>();
  block->options_ = options;
  const int64_t dim = options.value_dim;
  COHORT_TRY(const MatrixView output,
             loader.view(prefix + ".o_proj", options.width, options.heads * dim));
  COHORT_TRY(const HeadShare share,
             share_of_heads(loader.shard(), {.heads = options.heads,
                                             .kv_heads = options.heads,
                                             .value_dim = dim,
                                             .group_size = output.format.group_size}));
  const Range heads = share.query;
  block->heads_ = static_cast<int>(heads.count);
  COHORT_TRY_VOID(block->load_down(loader, prefix, heads));
  COHORT_TRY_VOID(block->load_heads(loader, prefix, heads));
  COHORT_TRY(block->output_,
             loader.load_summed(prefix + ".o_proj", output, {heads.first * dim, heads.count * dim},
                                options.bias));
  block->attention_.heads = block->heads_;
  block->attention_.scale = options.scale;
  block->attention_.layer = loader.add_kv_layer({.kv_heads = 1,
                                                 .key_dim = options.kv_lora_rank + options.rope_dim,
                                                 .value_dim = 0,
                                                 .value_prefix = options.kv_lora_rank});
  return block;
}

}  // namespace

Result<std::unique_ptr<Block>> load_latent_attention(Loader& loader, const std::string& prefix,
                                                     const LatentAttentionOptions& options) {
  return LatentAttention::load(loader, prefix, options);
}

}  // namespace cohort::models
