#include "models/rope.h"

#include <gtest/gtest.h>

#include "base/json.h"

namespace cohort::models {
namespace {

TEST(Rope, PlainFrequenciesFallFromOne) {
  const auto spec = make_rope_spec(4, 10000.0f, std::nullopt);
  ASSERT_TRUE(spec);
  EXPECT_EQ(spec->inverse_frequencies, (std::vector<float>{1.0f, 0.01f}));
  EXPECT_EQ(spec->scale, 1.0f);
}

TEST(Rope, LinearScalingStretchesPositions) {
  const auto spec = make_rope_spec(4, 10000.0f, RopeScaling{.type = "linear", .factor = 4.0f});
  ASSERT_TRUE(spec);
  EXPECT_EQ(spec->inverse_frequencies, (std::vector<float>{0.25f, 0.0025f}));
}

TEST(Rope, Llama3KeepsShortWavesAndStretchesLongOnes) {
  const auto plain = make_rope_spec(128, 500000.0f, std::nullopt);
  const auto scaled = make_rope_spec(
      128, 500000.0f,
      RopeScaling{.rope_type = "llama3", .factor = 8.0f, .original_max_position_embeddings = 8192});
  ASSERT_TRUE(scaled);
  EXPECT_EQ(scaled->inverse_frequencies[0], plain->inverse_frequencies[0]);
  EXPECT_FLOAT_EQ(scaled->inverse_frequencies[63], plain->inverse_frequencies[63] / 8);
  int blended = 0;
  for (int i = 0; i < 64; ++i) {
    const float ratio = plain->inverse_frequencies[i] / scaled->inverse_frequencies[i];
    EXPECT_GE(ratio, 0.999f);
    EXPECT_LE(ratio, 8.001f);
    blended += ratio > 1.001f && ratio < 7.999f;
  }
  EXPECT_GT(blended, 3);
}

TEST(Rope, YarnScalesAttentionByItsFactor) {
  RopeScaling scaling{.type = "yarn", .factor = 32.0f, .original_max_position_embeddings = 4096};
  EXPECT_FLOAT_EQ(make_rope_spec(64, 150000.0f, scaling)->scale, 0.1f * std::log(32.0f) + 1.0f);
  scaling.mscale_all_dim = 1.0f;
  EXPECT_FLOAT_EQ(make_rope_spec(64, 150000.0f, scaling)->scale, 1.0f);
}

TEST(Rope, NamesAnUnknownKind) {
  const auto spec = make_rope_spec(4, 10000.0f, RopeScaling{.type = "spiral"});
  ASSERT_FALSE(spec);
  EXPECT_EQ(spec.error().code, Code::kUnsupported);
  EXPECT_NE(spec.error().message.find("'spiral'"), std::string::npos);
  EXPECT_FALSE(make_rope_spec(3, 10000.0f, std::nullopt));
  EXPECT_FALSE(make_rope_spec(4, 0.0f, std::nullopt));
}

TEST(Rope, ReadsTheCheckpointsKeys) {
  const auto scaling = from_json<RopeScaling>(
      *parse_json(R"({"rope_type": "yarn", "factor": 4, "mscale": 1.0, "truncate": false})"));
  ASSERT_TRUE(scaling);
  EXPECT_EQ(scaling->kind(), "yarn");
  EXPECT_EQ(scaling->factor, 4.0f);
}

}  // namespace
}  // namespace cohort::models
