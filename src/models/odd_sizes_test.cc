// Random models of sizes that no power of two divides, with prompts over several pages: whatever way a sequence comes
// about, and however the model is cut, the logits are those of the whole model fed in one go.
#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>
#include <random>

#include <gtest/gtest.h>

#include "base/json.h"
#include "formats/checkpoint.h"
#include "formats/testing/safetensors_writer.h"
#include "models/golden.h"
#include "models/testing/tensor_group.h"

namespace cohort::models {
namespace {

using formats::Checkpoint;
using formats::testing::Bytes;
using formats::testing::Writer;
using testing::exact_backend;
using testing::make_kv;
using testing::TensorGroup;

// Adds tensors of normal values, scaled so that activations stay of order one.
class RandomTensors {
 public:
  void matrix(const std::string& prefix, const Shape& shape, bool bias = false) {
    const auto columns = static_cast<float>(shape[shape.rank() - 1]);
    add(prefix + ".weight", shape, 1.0f / std::sqrt(columns), 0);
    Shape outputs;
    for (int i = 0; i + 1 < shape.rank(); ++i) outputs.push_back(shape[i]);
    if (bias) add(prefix + ".bias", outputs, 0.3f, 0);
  }
  void norm(const std::string& name, int64_t size) { add(name + ".weight", {size}, 0.1f, 1); }
  void values(const std::string& name, const Shape& shape) { add(name, shape, 0.5f, 0); }

  void gated(const std::string& prefix, int64_t inner, int64_t width) {
    matrix(prefix + ".gate_proj", {inner, width});
    matrix(prefix + ".up_proj", {inner, width});
    matrix(prefix + ".down_proj", {width, inner});
  }
  void experts(const std::string& prefix, int64_t count, int64_t inner, int64_t width, bool bias) {
    matrix(prefix + ".gate_proj", {count, inner, width}, bias);
    matrix(prefix + ".up_proj", {count, inner, width}, bias);
    matrix(prefix + ".down_proj", {count, width, inner}, bias);
  }
  void attention(const std::string& prefix, int64_t heads, int64_t kv_heads, int64_t dim,
                 int64_t width, bool bias) {
    matrix(prefix + ".q_proj", {heads * dim, width}, bias);
    matrix(prefix + ".k_proj", {kv_heads * dim, width}, bias);
    matrix(prefix + ".v_proj", {kv_heads * dim, width}, bias);
    matrix(prefix + ".o_proj", {width, heads * dim}, bias);
  }
  Bytes finish() const { return writer_.finish(); }

 private:
  void add(const std::string& name, const Shape& shape, float deviation, float mean) {
    std::normal_distribution<float> normal(mean, deviation);
    std::vector<float> numbers(static_cast<size_t>(shape.elements()));
    for (float& number : numbers) number = normal(random_);
    writer_.add(name, shape, numbers);
  }
  std::mt19937 random_{20};
  Writer writer_;
};

struct RandomModel {
  std::string config;
  Bytes tensors;
};

constexpr int kWidth = 40, kVocab = 53, kLayers = 3;

// What all configs and checkpoints below share.
RandomModel random_model(
    std::string_view keys,
    const std::function<void(RandomTensors&, int, const std::string&)>& add_layer) {
  Json config = {{"hidden_size", kWidth}, {"vocab_size", kVocab}, {"num_hidden_layers", kLayers}};
  config.merge_patch(*parse_json(keys));
  RandomTensors tensors;
  tensors.matrix("model.embed_tokens", {kVocab, kWidth});
  tensors.matrix("lm_head", {kVocab, kWidth});
  tensors.norm("model.norm", kWidth);
  for (int i = 0; i < kLayers; ++i) {
    const std::string prefix = fmt::format("model.layers.{}", i);
    tensors.norm(prefix + ".input_layernorm", kWidth);
    tensors.norm(prefix + ".post_attention_layernorm", kWidth);
    add_layer(tensors, i, prefix);
  }
  return {config.dump(), tensors.finish()};
}

RandomModel llama() {
  return random_model(R"({"model_type": "llama", "num_attention_heads": 6, "num_key_value_heads": 3,
      "head_dim": 14, "intermediate_size": 44, "attention_bias": true})",
                      [](RandomTensors& tensors, int, const std::string& prefix) {
                        tensors.attention(prefix + ".self_attn", 6, 3, 14, kWidth, true);
                        tensors.gated(prefix + ".mlp", 44, kWidth);
                      });
}

RandomModel qwen3_moe() {
  return random_model(
      R"({"model_type": "qwen3_moe", "num_attention_heads": 10, "num_key_value_heads": 5,
      "head_dim": 6, "intermediate_size": 36, "num_experts": 7, "num_experts_per_tok": 3,
      "moe_intermediate_size": 12, "decoder_sparse_step": 2, "norm_topk_prob": true})",
      [](RandomTensors& tensors, int index, const std::string& prefix) {
        tensors.attention(prefix + ".self_attn", 10, 5, 6, kWidth, false);
        tensors.norm(prefix + ".self_attn.q_norm", 6);
        tensors.norm(prefix + ".self_attn.k_norm", 6);
        if (index % 2 == 0) return tensors.gated(prefix + ".mlp", 36, kWidth);
        tensors.matrix(prefix + ".mlp.gate", {7, kWidth});
        tensors.experts(prefix + ".mlp.switch_mlp", 7, 12, kWidth, false);
      });
}

RandomModel gpt_oss() {
  return random_model(
      R"({"model_type": "gpt_oss", "num_attention_heads": 9, "num_key_value_heads": 3,
      "head_dim": 10, "intermediate_size": 20, "num_local_experts": 5, "num_experts_per_tok": 2,
      "sliding_window": 11})",
      [](RandomTensors& tensors, int, const std::string& prefix) {
        tensors.attention(prefix + ".self_attn", 9, 3, 10, kWidth, true);
        tensors.values(prefix + ".self_attn.sinks", {9});
        tensors.matrix(prefix + ".mlp.router", {5, kWidth}, true);
        tensors.experts(prefix + ".mlp.experts", 5, 20, kWidth, true);
      });
}

// `query_rank` 0: queries straight from the stream. Latent heads as kv_b_proj, or split as MLX stores them.
RandomModel deepseek(int query_rank, bool kv_b) {
  const std::string keys = fmt::format(
      R"({{"model_type": "deepseek_v3", "num_attention_heads": 5, "kv_lora_rank": 22, "q_lora_rank": {},
      "qk_nope_head_dim": 12, "qk_rope_head_dim": 6, "v_head_dim": 10, "intermediate_size": 36,
      "n_routed_experts": 6, "n_shared_experts": 1, "num_experts_per_tok": 3, "moe_intermediate_size": 14,
      "first_k_dense_replace": 1, "n_group": 3, "topk_group": 2, "routed_scaling_factor": 1.5,
      "rope_scaling": {{"type": "yarn", "factor": 4, "original_max_position_embeddings": 16,
      "mscale": 1.0, "mscale_all_dim": 0.7}}}})",
      query_rank == 0 ? "null" : std::to_string(query_rank));
  return random_model(keys, [=](RandomTensors& tensors, int index, const std::string& prefix) {
    const std::string attention = prefix + ".self_attn";
    if (query_rank > 0) {
      tensors.matrix(attention + ".q_a_proj", {query_rank, kWidth});
      tensors.norm(attention + ".q_a_layernorm", query_rank);
      tensors.matrix(attention + ".q_b_proj", {5 * 18, query_rank});
    } else {
      tensors.matrix(attention + ".q_proj", {5 * 18, kWidth});
    }
    tensors.matrix(attention + ".kv_a_proj_with_mqa", {22 + 6, kWidth});
    tensors.norm(attention + ".kv_a_layernorm", 22);
    if (kv_b) {
      tensors.matrix(attention + ".kv_b_proj", {5 * (12 + 10), 22});
    } else {
      tensors.matrix(attention + ".embed_q", {5, 22, 12});
      tensors.matrix(attention + ".unembed_out", {5, 10, 22});
    }
    tensors.matrix(attention + ".o_proj", {kWidth, 5 * 10});
    if (index == 0) return tensors.gated(prefix + ".mlp", 36, kWidth);
    tensors.matrix(prefix + ".mlp.gate", {6, kWidth});
    tensors.values(prefix + ".mlp.gate.e_score_correction_bias", {6});
    tensors.experts(prefix + ".mlp.switch_mlp", 6, 14, kWidth, false);
    tensors.gated(prefix + ".mlp.shared_experts", 14, kWidth);
  });
}

int32_t argmax(std::span<const float> row) {
  return static_cast<int32_t>(std::ranges::max_element(row) - row.begin());
}

// What the model says of `prompt` in one go, and then greedily; the rows behind the prompt come from one go as well.
Result<Golden> self_made_golden(const Checkpoint& checkpoint, int prompt, int decode) {
  const auto backend = exact_backend();
  COHORT_TRY(const auto model, make_model(checkpoint, {}, *backend));
  Golden golden{.vocab_size = model->info().vocab_size};
  for (int i = 0; i < prompt; ++i) golden.tokens.push_back((i * i * 7 + 3 * i) % golden.vocab_size);
  golden.decode_tokens.resize(static_cast<size_t>(decode));
  COHORT_TRY_VOID(make_kv(*model, *backend, golden.pages()));
  const auto columns = static_cast<size_t>(golden.vocab_size);
  std::vector<float> all;
  for (int i = 0; i <= decode;
       ++i) {  // each time from the start: nothing but the whole prompt is ever fed
    backend::StepPlan plan{.tokens = golden.tokens, .runs = {}, .logits_rows = {}};
    plan.tokens.insert(plan.tokens.end(), golden.decode_tokens.begin(),
                       golden.decode_tokens.begin() + i);
    const auto rows = static_cast<int32_t>(plan.tokens.size());
    plan.runs.push_back({.first_row = 0, .rows = rows, .first_position = 0, .pages = {}});
    for (int32_t page = 0; page < golden.pages(); ++page) plan.runs[0].pages.push_back(page);
    for (int32_t row = 0; row < rows; ++row) plan.logits_rows.push_back(row);
    all.resize(static_cast<size_t>(rows) * columns);
    COHORT_TRY_VOID(golden_target(*model, *backend).step(plan, all));
    if (i < decode)
      golden.decode_tokens[static_cast<size_t>(i)] = argmax(std::span(all).last(columns));
  }
  const auto split = all.begin() + static_cast<ptrdiff_t>(columns) * prompt;
  golden.logits_prefill.assign(all.begin(), split);
  golden.logits_decode.assign(split, all.end());
  return golden;
}

struct OddCase {
  const char* name;
  std::function<RandomModel()> make;

  friend void PrintTo(const OddCase& odd, std::ostream* out) { *out << odd.name; }
};

class OddSizes : public ::testing::TestWithParam<OddCase> {
 protected:
  void SetUp() override {
    model_ = GetParam().make();
    auto checkpoint = Checkpoint::from_memory(model_.config, {model_.tensors});
    ASSERT_TRUE(checkpoint) << checkpoint.error().message;
    checkpoint_.emplace(std::move(*checkpoint));
    auto golden = self_made_golden(*checkpoint_, 71, 3);
    ASSERT_TRUE(golden) << golden.error().message;
    golden_ = std::move(*golden);
  }
  void expect_golden(const GoldenTarget& target, const GoldenOptions& options) {
    const auto report = compare_with_golden(golden_, target, options);
    ASSERT_TRUE(report) << report.error().message;
    EXPECT_TRUE(report->pass) << "chunk " << options.chunk << ": " << dump_json(to_json(*report));
  }

  RandomModel model_;
  std::optional<Checkpoint> checkpoint_;
  Golden golden_;
};

TEST_P(OddSizes, AreTheSameInChunksAndThroughAReusedPrefix) {
  const auto backend = exact_backend();
  const auto model = make_model(*checkpoint_, {}, *backend);
  ASSERT_TRUE(model) << model.error().message;
  ASSERT_TRUE(make_kv(**model, *backend, golden_.pages()));
  for (const int32_t chunk : {1, 7, 33}) {
    expect_golden(golden_target(**model, *backend), {.chunk = chunk});
    expect_golden(golden_target(**model, *backend), {.chunk = chunk, .reuse_prefix = true});
  }
}

TEST_P(OddSizes, AreTheSameOnRanks) {
  for (const std::vector<double>& fractions : {std::vector{0.2, 0.5, 0.3}, std::vector{0.4, 0.6}}) {
    const auto group = TensorGroup::load(*checkpoint_, fractions, golden_.pages());
    ASSERT_TRUE(group) << group.error().message;
    expect_golden((*group)->target(), {.chunk = 13});
  }
}

INSTANTIATE_TEST_SUITE_P(All, OddSizes,
                         ::testing::Values(OddCase{"llama", llama}, OddCase{"qwen3_moe", qwen3_moe},
                                           OddCase{"gpt_oss", gpt_oss},
                                           OddCase{"deepseek", [] { return deepseek(20, false); }},
                                           OddCase{"deepseek_plain_q",
                                                   [] { return deepseek(0, true); }}),
                         [](const auto& test) { return std::string(test.param.name); });

// Old conversions hold kv_b_proj: head by head, rows that make keys of the latent and rows that make values.
TEST(LatentHeads, MadeOfKvBAreThoseStoredSplit) {
  const std::filesystem::path folder =
      std::filesystem::path(COHORT_SOURCE_DIR) / "tests/data/models/deepseek_v3-bf16";
  const auto split = Checkpoint::open(folder);
  ASSERT_TRUE(split);
  Writer writer;
  for (const std::string& name : split->names()) {
    const TensorView& view = *split->find(name);
    if (name.find("unembed_out") != std::string::npos) continue;
    if (name.find("embed_q") == std::string::npos) {
      writer.add(name, view.dtype, view.shape, {view.data, view.size_bytes()});
      continue;
    }
    const std::string prefix = name.substr(0, name.find("embed_q"));
    const TensorView& values = *split->find(prefix + "unembed_out.weight");
    const int64_t heads = view.shape[0], latent = view.shape[1], nope = view.shape[2];
    const int64_t value_dim = values.shape[1], head_rows = nope + value_dim;
    std::vector<uint16_t> joined(static_cast<size_t>(heads * head_rows * latent));
    for (int64_t i = 0; i < std::ssize(joined); ++i) {
      const int64_t head = i / (head_rows * latent), row = i / latent % head_rows, c = i % latent;
      const int64_t from = row < nope ? (head * latent + c) * nope + row
                                      : (head * value_dim + row - nope) * latent + c;
      joined[i] = load<uint16_t>((row < nope ? view : values).data + from * 2);
    }
    writer.add(prefix + "kv_b_proj.weight", DType::kBF16, {heads * head_rows, latent},
               std::as_bytes(std::span(joined)));
  }
  const Bytes bytes = writer.finish();
  const auto joined = Checkpoint::from_memory(split->config().dump(), {bytes});
  ASSERT_TRUE(joined) << joined.error().message;
  const auto golden = read_golden(folder);
  const auto group = TensorGroup::load(*joined, {0.5, 0.5}, golden->pages());
  ASSERT_TRUE(group) << group.error().message;
  const auto report = compare_with_golden(*golden, (*group)->target(), {});
  ASSERT_TRUE(report);
  EXPECT_TRUE(report->pass) << dump_json(to_json(*report));
}

}  // namespace
}  // namespace cohort::models
