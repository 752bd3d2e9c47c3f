#include "cli/model_cost.h"

#include <gtest/gtest.h>

#include <filesystem>

namespace cohort::cli {
namespace {

cluster::LayerCost first_layer_of(const std::string& fixture, std::string_view kv_type) {
  const auto folder = std::filesystem::path(COHORT_SOURCE_DIR) / "tests/data/models" / fixture;
  const auto checkpoint = formats::Checkpoint::open(folder).value();
  return model_cost(checkpoint, kv_type).value().layers.front();
}

TEST(ModelCost, AttentionOfEveryQueryHeadIsCountedAndOneCacheOfEveryKvHead) {
  constexpr int kHeads = 8, kKvHeads = 4, kHeadDim = 32;  // of the fixture
  const auto layer = first_layer_of("qwen3-bf16", "f16");
  EXPECT_EQ(layer.position_operations, 2 * kHeads * (kHeadDim + kHeadDim));
  EXPECT_EQ(layer.kv_bytes_per_token, 2u * kKvHeads * kHeadDim * 2);
  EXPECT_EQ(first_layer_of("qwen3-bf16", "f32").kv_bytes_per_token, 2u * kKvHeads * kHeadDim * 4);
}

TEST(ModelCost, LatentAttentionComparesWithOneRowForAllHeads) {
  constexpr int kHeads = 4, kLatent = 64, kRope = 32;  // of the fixture
  const auto layer = first_layer_of("deepseek_v3-bf16", "f16");
  EXPECT_EQ(layer.position_operations, 2 * kHeads * (kLatent + kRope + kLatent));
  EXPECT_EQ(layer.kv_bytes_per_token, (kLatent + kRope) * 2u);
}

}  // namespace
}  // namespace cohort::cli
