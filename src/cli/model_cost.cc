#include "cli/model_cost.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>

namespace cohort::cli {
namespace {

// The keys of config.json that decide; families differ in the names of the expert counts.
struct CostConfig {
  int32_t hidden_size = 0;
  int32_t num_hidden_layers = 0;
  int32_t num_attention_heads = 0;
  std::optional<int32_t> num_key_value_heads, head_dim, kv_lora_rank, qk_rope_head_dim;
  std::optional<int32_t> num_experts, n_routed_experts, num_local_experts;
  std::optional<int32_t> num_experts_per_tok, experts_per_token;
  int32_t max_position_embeddings = 0;

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("hidden_size", hidden_size);
    visit("num_hidden_layers", num_hidden_layers);
    visit("num_attention_heads", num_attention_heads);
    visit("num_key_value_heads", num_key_value_heads);
    visit("head_dim", head_dim);
    visit("kv_lora_rank", kv_lora_rank);
    visit("qk_rope_head_dim", qk_rope_head_dim);
    visit("num_experts", num_experts);
    visit("n_routed_experts", n_routed_experts);
    visit("num_local_experts", num_local_experts);
    visit("num_experts_per_tok", num_experts_per_tok);
    visit("experts_per_token", experts_per_token);
    visit("max_position_embeddings", max_position_embeddings);
  }

  // The share of the routed experts that a token meets.
  double routed_fraction() const {
    const int32_t experts =
        num_experts.value_or(n_routed_experts.value_or(num_local_experts.value_or(0)));
    const int32_t chosen = num_experts_per_tok.value_or(experts_per_token.value_or(0));
    return experts > 0 && chosen > 0 ? std::min(1.0, static_cast<double>(chosen) / experts) : 1.0;
  }
};

double bytes_of_kv_value(std::string_view kv_type) {
  if (kv_type == "f32") return 4;
  if (kv_type == "q8") return 1.0625;  // a scale of two bytes for 32 values
  return 2;
}

// One layer's attention. Latent attention keeps one compressed row for all heads, the values being part of the keys.
struct AttentionShape {
  double heads = 0;
  double key_dim = 0, value_dim = 0;  // what a head is multiplied with, for each position
  double cached_values = 0;           // by position

  // A multiply-add is two.
  double operations_per_position() const { return 2 * heads * (key_dim + value_dim); }
};
AttentionShape attention_shape(const CostConfig& config) {
  const int32_t heads = std::max(1, config.num_attention_heads);
  if (const int32_t latent = config.kv_lora_rank.value_or(0); latent > 0) {
    const double key_dim = latent + config.qk_rope_head_dim.value_or(0);
    return {static_cast<double>(heads), key_dim, static_cast<double>(latent), key_dim};
  }
  const double head_dim = config.head_dim.value_or(config.hidden_size / heads);
  const double kv_heads = config.num_key_value_heads.value_or(heads);
  return {static_cast<double>(heads), head_dim, head_dim, 2 * kv_heads * head_dim};
}

// The number between "layers." and the next dot.
std::optional<size_t> layer_of(std::string_view name) {
  constexpr std::string_view kMark = "layers.";
  const size_t mark = name.find(kMark);
  if (mark == std::string_view::npos) return std::nullopt;
  size_t layer = 0;
  const char* begin = name.data() + mark + kMark.size();
  const auto [end, status] = std::from_chars(begin, name.data() + name.size(), layer);
  return status == std::errc() ? std::optional(layer) : std::nullopt;
}

std::optional<MatrixView> matrix_of(const formats::Checkpoint& checkpoint, std::string_view name,
                                    const TensorView& tensor) {
  constexpr std::string_view kWeight = ".weight";
  if (tensor.shape.rank() < 2 || !name.ends_with(kWeight)) return std::nullopt;
  const auto matrix = checkpoint.matrix(name.substr(0, name.size() - kWeight.size()));
  return matrix ? std::optional(*matrix) : std::nullopt;
}

// Multiply-adds count two. A packed word holds several weights; their count is that of the matrix it was made of.
double operations_of(const formats::Checkpoint& checkpoint, std::string_view name,
                     const TensorView& tensor) {
  if (tensor.shape.rank() < 2 || !name.ends_with(".weight")) return 0;
  if (const auto matrix = matrix_of(checkpoint, name, tensor)) {
    const int64_t experts = std::max<int64_t>(1, matrix->experts);
    return 2.0 * static_cast<double>(experts * matrix->rows * matrix->columns);
  }
  return 2.0 * static_cast<double>(tensor.shape.elements());
}

// The nearest of cluster::kFormats.
std::string_view format_of(const QuantFormat& format) {
  switch (format.mode) {
    case QuantMode::kNone: return "bf16";
    case QuantMode::kMxfp4:
    case QuantMode::kNvfp4: return "mxfp4";
    case QuantMode::kMxfp8: return "q8";
    case QuantMode::kAffine: break;
  }
  return format.bits <= 4 ? "q4" : "q8";
}

// Sums by format, made into shares in the end.
class FormatShares {
 public:
  // A matrix that a token meets with `share` of it.
  void add(const MatrixView& matrix, double share) {
    const double experts = static_cast<double>(std::max<int64_t>(1, matrix.experts));
    const double values = experts * static_cast<double>(matrix.rows * matrix.columns) * share;
    const auto bytes = static_cast<double>(matrix.weight.size_bytes() + matrix.scales.size_bytes() +
                                           matrix.biases.size_bytes());
    cluster::FormatShare& sum = sums_[format_of(matrix.format)];
    sum.bytes += bytes * share;
    sum.operations += 2 * values;
  }

  std::vector<cluster::FormatShare> shares() const {
    double bytes = 0, operations = 0;
    for (const auto& [format, sum] : sums_) {
      bytes += sum.bytes;
      operations += sum.operations;
    }
    std::vector<cluster::FormatShare> shares;
    if (bytes <= 0 || operations <= 0) return shares;
    for (const auto& [format, sum] : sums_)
      shares.push_back({std::string(format), sum.bytes / bytes, sum.operations / operations});
    return shares;
  }

 private:
  std::map<std::string_view, cluster::FormatShare> sums_;
};

bool is_routed(std::string_view name) {
  return name.find(".experts.") != std::string_view::npos ||
         name.find(".switch_mlp.") != std::string_view::npos;
}

}  // namespace

Result<cluster::ModelCost> model_cost(const formats::Checkpoint& checkpoint,
                                      std::string_view kv_type) {
  const Json& whole = checkpoint.config();
  const auto text = whole.find("text_config");
  COHORT_TRY(const CostConfig config,
             from_json<CostConfig>(text != whole.end() && text->is_object() ? *text : whole));
  if (config.num_hidden_layers <= 0 || config.num_hidden_layers > 4096) {
    return fail(Code::kUnsupported, "config.json: num_hidden_layers is {}",
                config.num_hidden_layers);
  }
  cluster::ModelCost cost{.width = config.hidden_size, .heads = config.num_attention_heads};
  const bool latent = config.kv_lora_rank.value_or(0) > 0;
  cost.kv_heads = latent ? 1 : config.num_key_value_heads.value_or(config.num_attention_heads);
  cost.max_positions = config.max_position_embeddings;
  cost.layers.resize(static_cast<size_t>(config.num_hidden_layers));
  uint64_t head_bytes = 0;
  FormatShares formats;
  for (const std::string& name : checkpoint.names()) {
    const TensorView& tensor = *checkpoint.find(name);
    const uint64_t size_bytes = tensor.size_bytes();
    const double operations = operations_of(checkpoint, name, tensor);
    const auto layer = layer_of(name);
    if (const auto matrix = matrix_of(checkpoint, name, tensor))
      formats.add(*matrix, is_routed(name) ? config.routed_fraction() : 1.0);
    if (layer && *layer < cost.layers.size()) {
      const double share = is_routed(name) ? config.routed_fraction() : 1.0;
      cluster::LayerCost& sum = cost.layers[*layer];
      sum.weight_bytes += size_bytes;
      sum.touched_bytes += static_cast<uint64_t>(static_cast<double>(size_bytes) * share);
      sum.operations += operations * share;
    } else if (name.find("embed") != std::string::npos) {
      cost.embedding_bytes += size_bytes;
      if (cost.head_operations == 0) cost.head_operations = operations;
    } else {
      head_bytes += size_bytes;
      if (operations > 0) cost.head_operations = operations;
    }
  }
  cost.head_bytes = std::max(head_bytes, checkpoint.find("lm_head.weight") != nullptr
                                             ? head_bytes
                                             : cost.embedding_bytes);  // tied
  cost.formats = formats.shares();
  const AttentionShape attention = attention_shape(config);
  for (cluster::LayerCost& layer : cost.layers) {
    layer.kv_bytes_per_token =
        static_cast<uint64_t>(attention.cached_values * bytes_of_kv_value(kv_type));
    layer.position_operations = attention.operations_per_position();
  }
  return cost;
}

}  // namespace cohort::cli
