#include "cli/synthetic_model.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <sstream>
#include <string_view>
#include <system_error>
#include <vector>

#include <unistd.h>

#include "base/files.h"
#include "base/bytes.h"
#include "base/json.h"
#include "cli/cache_folder.h"
#include "hub/store.h"
#include "tensor/dtype.h"

namespace cohort::cli {
namespace {

namespace fs = std::filesystem;

constexpr int32_t kGroup = 64, kMxGroup = 32;
constexpr size_t kBlockBytes = 1 << 20;
constexpr int32_t kPositions = 32768;

struct NamedShape {
  std::string_view name;
  ModelShape shape;
};
constexpr std::array kSizes = {
    NamedShape{"0.5b", {16, 1536, 24, 8, 64, 4096, 32000, true}},
    NamedShape{"0.6b", {28, 1024, 16, 8, 128, 3072, 151936, true}},
    NamedShape{"1b", {16, 2048, 32, 8, 64, 8192, 128256, true}},
    NamedShape{"3b", {28, 3072, 24, 8, 128, 8192, 128256, true}},
    NamedShape{"8b", {32, 4096, 32, 8, 128, 14336, 128256, false}},
    NamedShape{"moe", {6, 2048, 32, 4, 128, 768, 32000, false, 4, 128, 8}},
};

struct NamedFormat {
  std::string_view name;
  int32_t bits;
  bool mxfp4 = false;
};
constexpr std::array kFormats = {NamedFormat{"q4", 4}, NamedFormat{"q8", 8},
                                 NamedFormat{"bf16", 16}, NamedFormat{"mxfp4", 4, true}};

uint64_t next_random(uint64_t& state) {  // splitmix64
  uint64_t z = (state += 0x9e3779b97f4a7c15ull);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

// How the bytes of a tensor come about.
enum class Filling {
  kCodes,      // random bits
  kSymmetric,  // bf16, random in +-value
  kConstant,   // bf16
  kBytes,      // the value in each
};

struct TensorPlan {
  std::string name;
  std::string_view dtype;
  std::vector<int64_t> shape;
  uint64_t size_bytes = 0;
  Filling filling = Filling::kConstant;
  float value = 1;
};

class Plan {
 public:
  explicit Plan(const ModelShape& shape) {
    bits_ = shape.bits;
    mxfp4_ = shape.mxfp4;
    matrix("model.embed_tokens", shape.vocabulary, shape.width);
    for (int32_t layer = 0; layer < shape.layers; ++layer) add_layer(shape, layer);
    norm("model.norm", shape.width);
    if (!shape.tied) matrix("lm_head", shape.vocabulary, shape.width);
  }

  const std::vector<TensorPlan>& tensors() const { return tensors_; }

 private:
  void add_layer(const ModelShape& shape, int32_t layer) {
    const std::string prefix = fmt::format("model.layers.{}.", layer);
    const int32_t query = shape.heads * shape.head_dim;
    const int32_t kv = shape.kv_heads * shape.head_dim;
    norm(prefix + "input_layernorm", shape.width);
    matrix(prefix + "self_attn.q_proj", query, shape.width);
    matrix(prefix + "self_attn.k_proj", kv, shape.width);
    matrix(prefix + "self_attn.v_proj", kv, shape.width);
    matrix(prefix + "self_attn.o_proj", shape.width, query);
    norm(prefix + "post_attention_layernorm", shape.width);
    if (shape.experts > 0) return add_mixture(shape, prefix);
    matrix(prefix + "mlp.gate_proj", shape.feed_forward, shape.width);
    matrix(prefix + "mlp.up_proj", shape.feed_forward, shape.width);
    matrix(prefix + "mlp.down_proj", shape.width, shape.feed_forward);
  }

  void add_mixture(const ModelShape& shape, const std::string& prefix) {
    norm(prefix + "self_attn.q_norm", shape.head_dim);
    norm(prefix + "self_attn.k_norm", shape.head_dim);
    matrix(prefix + "mlp.gate", shape.experts, shape.width);
    const std::string experts = prefix + "mlp.switch_mlp.";
    matrix(experts + "gate_proj", shape.feed_forward, shape.width, shape.experts);
    matrix(experts + "up_proj", shape.feed_forward, shape.width, shape.experts);
    matrix(experts + "down_proj", shape.width, shape.feed_forward, shape.experts);
  }

  void norm(const std::string& name, int64_t width) {
    add({name + ".weight", "BF16", {width}, 0, Filling::kConstant, 1});
  }

  // Weights uniform about zero, of a size that keeps the stream's. `experts` 0: without that axis.
  void matrix(const std::string& name, int64_t rows, int64_t columns, int64_t experts = 0) {
    const auto shape = [&](int64_t last) {
      return experts > 0 ? std::vector{experts, rows, last} : std::vector{rows, last};
    };
    const float reach = std::sqrt(3.0f / static_cast<float>(columns));
    if (bits_ == 16) {
      add({name + ".weight", "BF16", shape(columns), 0, Filling::kSymmetric, reach});
      return;
    }
    if (mxfp4_) {
      constexpr float kLargest = 6;  // of the codes
      add({name + ".weight", "U32", shape(columns / 8), 0, Filling::kCodes, 0});
      add({name + ".scales", "U8", shape(columns / kMxGroup), 0, Filling::kBytes,
           127 + std::floor(std::log2(reach / kLargest))});
      return;
    }
    const float step = 2 * reach / static_cast<float>((1 << bits_) - 1);
    const int64_t groups = columns / kGroup;
    add({name + ".weight", "U32", shape(columns * bits_ / 32), 0, Filling::kCodes, 0});
    add({name + ".scales", "BF16", shape(groups), 0, Filling::kConstant, step});
    add({name + ".biases", "BF16", shape(groups), 0, Filling::kConstant, -reach});
  }

  void add(TensorPlan tensor) {
    tensor.size_bytes = dtype_size(*parse_dtype(tensor.dtype));
    for (const int64_t extent : tensor.shape) tensor.size_bytes *= static_cast<uint64_t>(extent);
    tensors_.push_back(std::move(tensor));
  }

  int32_t bits_ = 4;
  bool mxfp4_ = false;
  std::vector<TensorPlan> tensors_;
};

std::string safetensors_header(const Plan& plan) {
  Json header = Json::object();
  uint64_t offset = 0;
  for (const TensorPlan& tensor : plan.tensors()) {
    header[tensor.name] = {{"dtype", std::string(tensor.dtype)},
                           {"shape", tensor.shape},
                           {"data_offsets", {offset, offset + tensor.size_bytes}}};
    offset += tensor.size_bytes;
  }
  std::string text = dump_json(header);
  text.resize(round_up<size_t>(text.size(), 8), ' ');
  return text;
}

void fill(const TensorPlan& tensor, uint64_t& state, std::vector<std::byte>& block) {
  if (tensor.filling == Filling::kCodes) {
    for (size_t i = 0; i + 8 <= block.size(); i += 8) store(&block[i], next_random(state));
    return;
  }
  if (tensor.filling == Filling::kBytes) {
    std::fill(block.begin(), block.end(), static_cast<std::byte>(tensor.value));
    return;
  }
  for (size_t i = 0; i + 2 <= block.size(); i += 2) {
    float value = tensor.value;
    if (tensor.filling == Filling::kSymmetric) {
      value *= static_cast<float>(next_random(state) >> 40) * 0x1p-23f - 1;
    }
    store(&block[i], float_to_bf16(value));
  }
}

Json config_of(const ModelShape& shape) {
  Json config{{"model_type", "llama"},
              {"architectures", {"LlamaForCausalLM"}},
              {"hidden_size", shape.width},
              {"num_hidden_layers", shape.layers},
              {"num_attention_heads", shape.heads},
              {"num_key_value_heads", shape.kv_heads},
              {"head_dim", shape.head_dim},
              {"intermediate_size", shape.feed_forward},
              {"vocab_size", shape.vocabulary},
              {"max_position_embeddings", kPositions},
              {"rms_norm_eps", 1e-5},
              {"rope_theta", 500000.0},
              {"tie_word_embeddings", shape.tied}};
  if (shape.bits < 16) {
    config["quantization"] = {{"group_size", shape.mxfp4 ? kMxGroup : kGroup},
                              {"bits", shape.bits}};
    if (shape.mxfp4) config["quantization"]["mode"] = "mxfp4";
  }
  if (shape.experts > 0) {
    config["model_type"] = "qwen3_moe";
    config["architectures"] = {"Qwen3MoeForCausalLM"};
    config["moe_intermediate_size"] = shape.feed_forward;
    config["num_experts"] = shape.experts;
    config["num_experts_per_tok"] = shape.experts_per_token;
    config["norm_topk_prob"] = true;
  }
  return config;
}

// Every id stands for its number; of text it knows digits. (Written by hand: our JSON objects keep their order and would
// search all their keys for each new one.)
std::string tokenizer_of(const ModelShape& shape) {
  const std::string bytes = R"({"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true})";
  std::string text =
      fmt::format(R"({{"version":"1.0","added_tokens":[],"pre_tokenizer":{0},"decoder":{0},)"
                  R"("model":{{"type":"BPE","merges":[],"vocab":{{)",
                  bytes);
  for (int32_t id = 0; id < shape.vocabulary; ++id) {
    text += fmt::format(R"({}"{}{}":{})", id == 0 ? "" : ",", id < 10 ? "" : "\u0120", id, id);
  }
  return text + "}}}\n";
}

void write_weights(const Plan& plan, std::ostream& out) {
  const std::string header = safetensors_header(plan);
  std::vector<std::byte> block(sizeof(uint64_t));
  store<uint64_t>(block.data(), header.size());
  const auto put = [&out](const void* bytes, size_t size) {
    out.write(static_cast<const char*>(bytes), static_cast<std::streamsize>(size));
  };
  put(block.data(), block.size());
  put(header.data(), header.size());
  uint64_t state = 1;
  for (const TensorPlan& tensor : plan.tensors()) {
    for (uint64_t done = 0; done < tensor.size_bytes; done += block.size()) {
      block.resize(std::min<uint64_t>(kBlockBytes, tensor.size_bytes - done));
      fill(tensor, state, block);
      put(block.data(), block.size());
    }
  }
}

Result<void> write_weights_file(const Plan& plan, const fs::path& path) {
  std::ofstream file(path, std::ios::binary);
  write_weights(plan, file);
  file.close();
  if (!file) return fail(Code::kUnavailable, "{} could not be written", path.string());
  return {};
}

template <class Named>
std::string names_of(const Named& all) {
  std::string names;
  for (const auto& one : all) names += fmt::format("{}{}", names.empty() ? "" : ", ", one.name);
  return names;
}

}  // namespace

Result<ModelShape> parse_shape(const std::string& name) {
  const size_t dash = name.find('-');
  const auto by_name = [](std::string_view wanted) {
    return [wanted](const auto& named) { return named.name == wanted; };
  };
  const auto size = std::find_if(kSizes.begin(), kSizes.end(), by_name(name.substr(0, dash)));
  const std::string ending = dash == std::string::npos ? "" : name.substr(dash + 1);
  const auto format = std::find_if(kFormats.begin(), kFormats.end(), by_name(ending));
  if (size == kSizes.end() || format == kFormats.end()) {
    return fail(Code::kInvalidArgument, "no shape '{}': SIZE-FORMAT of {} and {}", name,
                names_of(kSizes), names_of(kFormats));
  }
  ModelShape shape = size->shape;
  shape.bits = format->bits;
  shape.mxfp4 = format->mxfp4;
  return shape;
}

SyntheticFiles synthetic_files(const ModelShape& shape) {
  std::ostringstream weights;
  write_weights(Plan(shape), weights);
  return {dump_json(config_of(shape)), std::move(weights).str()};
}

Result<void> write_synthetic_model(const ModelShape& shape, const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return fail(Code::kUnavailable, "{}: {}", folder.string(), error.message());
  const Plan plan(shape);
  uint64_t size_bytes = 0;
  for (const TensorPlan& tensor : plan.tensors()) size_bytes += tensor.size_bytes;
  COHORT_TRY_VOID(hub::check_free_space(folder, size_bytes));
  const fs::path weights = folder / "model.safetensors";
  const fs::path partial = fmt::format("{}.{}", weights.string(), ::getpid());
  if (const Result<void> written = write_weights_file(plan, partial); !written) {
    fs::remove(partial, error);
    return written;
  }
  COHORT_TRY_VOID(write_file(folder / "config.json", config_of(shape).dump(2) + "\n"));
  COHORT_TRY_VOID(write_file(folder / "tokenizer.json", tokenizer_of(shape)));
  fs::rename(partial, weights, error);
  if (error) return fail(Code::kUnavailable, "{}: {}", weights.string(), error.message());
  return {};
}

Result<fs::path> synthetic_model(const std::string& shape_name) {
  COHORT_TRY(const ModelShape shape, parse_shape(shape_name));
  if (cache_folder().empty()) {
    return fail(Code::kInvalidArgument, "no cache folder is known: set HOME, or use --write");
  }
  const fs::path folder = cache_folder() / "shapes" / shape_name;
  std::error_code error;
  if (!fs::exists(folder / "model.safetensors", error)) {
    COHORT_TRY_VOID(write_synthetic_model(shape, folder));
  }
  return folder;
}

}  // namespace cohort::cli
