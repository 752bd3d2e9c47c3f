#include <gtest/gtest.h>

#include "backend/cpu/cpu_backend.h"
#include "base/json.h"
#include "formats/checkpoint.h"
#include "formats/testing/safetensors_writer.h"
#include "models/model.h"

namespace cohort::models {
namespace {

using formats::Checkpoint;
using formats::testing::Bytes;
using formats::testing::Writer;

constexpr const char* kTiny = R"({"model_type": "llama", "hidden_size": 8, "num_hidden_layers": 1,
    "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 16, "vocab_size": 32})";

Writer tiny_tensors() {
  Writer writer;
  writer.add("model.embed_tokens.weight", DType::kF32, {32, 8});
  writer.add("model.norm.weight", DType::kF32, {8});
  const std::string layer = "model.layers.0.";
  writer.add(layer + "input_layernorm.weight", DType::kF32, {8});
  writer.add(layer + "post_attention_layernorm.weight", DType::kF32, {8});
  writer.add(layer + "self_attn.q_proj.weight", DType::kF32, {8, 8});
  writer.add(layer + "self_attn.k_proj.weight", DType::kF32, {4, 8});
  writer.add(layer + "self_attn.v_proj.weight", DType::kF32, {4, 8});
  writer.add(layer + "self_attn.o_proj.weight", DType::kF32, {8, 8});
  writer.add(layer + "mlp.gate_proj.weight", DType::kF32, {16, 8});
  writer.add(layer + "mlp.up_proj.weight", DType::kF32, {16, 8});
  return writer.add(layer + "mlp.down_proj.weight", DType::kF32, {8, 16});
}

// The tiny model with some keys of its config changed.
Result<ModelInfo> make(std::string_view changes, const Bytes& file, const Shard& shard = {}) {
  Json config = *parse_json(kTiny);
  config.merge_patch(*parse_json(changes));
  COHORT_TRY(const Checkpoint checkpoint, Checkpoint::from_memory(config.dump(), {file}));
  const auto backend = backend::make_cpu_backend({.threads = 1});
  COHORT_TRY(const auto model, make_model(checkpoint, shard, *backend));
  return model->info();
}

std::string error_of(std::string_view changes, const Shard& shard = {}) {
  const auto info = make(changes, tiny_tensors().finish(), shard);
  return info ? "no error" : info.error().message;
}

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

TEST(Registry, TellsWhatItMade) {
  const auto info = make(R"({"max_position_embeddings": 77})", tiny_tensors().finish());
  ASSERT_TRUE(info) << info.error().message;
  EXPECT_EQ(info->model_type, "llama");
  EXPECT_EQ(info->layers, 1);
  EXPECT_EQ(info->vocab_size, 32);
  EXPECT_EQ(info->max_positions, 77);
  ASSERT_EQ(info->kv.layers.size(), 1u);
  EXPECT_EQ(info->kv.layers[0].kv_heads, 1);
  EXPECT_EQ(info->kv.layers[0].key_dim, 4);
}

TEST(Registry, AnUnknownArchitectureIsToldTheKnownOnes) {
  const auto info = make(R"({"model_type": "abacus"})", tiny_tensors().finish());
  ASSERT_FALSE(info);
  EXPECT_EQ(info.error().code, Code::kUnsupported);
  EXPECT_TRUE(has(info.error().message, "'abacus' is unknown"));
  for (const std::string_view name : known_architectures()) {
    EXPECT_TRUE(has(info.error().message, name)) << name;
  }
  EXPECT_TRUE(has(error_of(R"({"model_type": null})"), "names no model_type"));
}

TEST(Registry, AMissingTensorIsNamed) {
  const auto info = make("{}", Writer().add("model.norm.weight", DType::kF32, {8}).finish());
  ASSERT_FALSE(info);
  EXPECT_TRUE(has(info.error().message, "model.layers.0.self_attn.o_proj.weight' is missing"));
}

TEST(Registry, ATensorOfAnotherShapeIsNamedWithBothShapes) {
  EXPECT_TRUE(
      has(error_of(R"({"intermediate_size": 24})"),
          "'model.layers.0.mlp.gate_proj.weight' has shape [16, 8]; config.json asks for [24, 8]"));
  EXPECT_TRUE(
      has(error_of(R"({"vocab_size": 31})"), "'model.embed_tokens.weight' has shape [32, 8]"));
}

TEST(Registry, AConfigThatDoesNotFitTogetherIsNamedByKey) {
  EXPECT_TRUE(has(error_of(R"({"num_attention_heads": 3, "num_key_value_heads": 2})"),
                  "3 num_attention_heads are no multiple of 2 num_key_value_heads"));
  EXPECT_TRUE(has(error_of(R"({"hidden_size": null})"), "hidden_size is 0, or missing"));
  EXPECT_TRUE(has(error_of(R"({"hidden_size": "8"})"), "hidden_size: expected an integer"));
  EXPECT_TRUE(has(error_of(R"({"layer_types": ["full_attention", "full_attention"]})"),
                  "layer_types lists 2 of 1 layers"));
  EXPECT_TRUE(has(error_of(R"({"layer_types": ["spiral_attention"]})"), "'spiral_attention'"));
  EXPECT_TRUE(has(error_of(R"({"layer_types": ["sliding_attention"]})"), "sliding_window"));
  EXPECT_TRUE(has(error_of(R"({"rope_scaling": {"type": "spiral"}})"), "'spiral'"));
  EXPECT_TRUE(has(error_of(R"({"head_dim": 6})"), "o_proj.weight' has shape"));
}

TEST(Registry, ABiasMustBeThereIfAndOnlyIfTheConfigSaysSo) {
  EXPECT_TRUE(has(error_of(R"({"mlp_bias": true})"), "gate_proj.bias' is missing"));
  const Bytes file =
      tiny_tensors().add("model.layers.0.mlp.down_proj.bias", DType::kF32, {8}).finish();
  const auto info = make("{}", file);
  ASSERT_FALSE(info);
  EXPECT_TRUE(has(info.error().message, "there is no bias"));
}

TEST(Registry, AShardThatDoesNotFitIsRefused) {
  EXPECT_TRUE(
      has(error_of("{}", {.first_layer = 0, .last_layer = 2}), "layers 0 to 2 are no part of 1"));
  EXPECT_TRUE(has(error_of("{}", {.fractions = {0.3, 0.3, 0.4}}), "too few for 3 ranks"));
  EXPECT_EQ(error_of("{}", {.rank = 1, .fractions = {0.5, 0.5}}), "no error");
}

}  // namespace
}  // namespace cohort::models
