#include "formats/quantization_config.h"

#include <gtest/gtest.h>

namespace cohort::formats {
namespace {

Result<QuantizationConfig> parse(std::string_view text) {
  return QuantizationConfig::parse(*parse_json(text));
}

TEST(QuantizationConfig, IsNothingWithoutABlock) {
  const auto config = parse("{}");
  ASSERT_TRUE(config);
  EXPECT_EQ(config->format_of("lm_head").mode, QuantMode::kNone);
}

TEST(QuantizationConfig, ModeIsAffineUnlessSaid) {
  const auto config = parse(R"({"quantization": {"group_size": 32, "bits": 5}})");
  ASSERT_TRUE(config);
  EXPECT_EQ(config->format_of("x"), (QuantFormat{QuantMode::kAffine, 5, 32}));
  EXPECT_FALSE(config->names("x"));
}

TEST(QuantizationConfig, ReadsTheOtherKeyToo) {
  const auto config = parse(R"({"quantization_config": {"mode": "nvfp4"}})");
  ASSERT_TRUE(config);
  EXPECT_EQ(config->format_of("x"), (QuantFormat{QuantMode::kNvfp4, 4, 16}));
}

TEST(QuantizationConfig, AnEntryOfALayerWins) {
  const auto config = parse(R"({"quantization": {"group_size": 32, "bits": 4, "mode": "mxfp4",
      "model.layers.0.mlp.gate": {"group_size": 64, "bits": 8}, "lm_head": false}})");
  ASSERT_TRUE(config);
  EXPECT_EQ(config->format_of("x"), (QuantFormat{QuantMode::kMxfp4, 4, 32}));
  EXPECT_EQ(config->format_of("model.layers.0.mlp.gate"), (QuantFormat{QuantMode::kAffine, 8, 64}));
  EXPECT_TRUE(config->names("model.layers.0.mlp.gate"));
  EXPECT_EQ(config->format_of("lm_head").mode, QuantMode::kNone);
  EXPECT_FALSE(config->names("lm_head"));
}

TEST(QuantizationConfig, RefusesWhatDoesNotExist) {
  for (const char* text : {R"({"quantization": {"bits": 7}})", R"({"quantization": {"bits": 0}})",
                           R"({"quantization": {"group_size": 0, "bits": 4}})",
                           R"({"quantization": {"mode": "mxfp4", "bits": 8}})",
                           R"({"quantization": {"mode": "other"}})", R"({"quantization": 4})",
                           R"({"quantization": {"bits": 4, "lm_head": {"bits": -4}}})"}) {
    EXPECT_FALSE(parse(text)) << text;
  }
}

TEST(QuantizationConfig, NamesAForeignMethod) {
  const auto config = parse(R"({"quantization_config": {"quant_method": "awq", "bits": 4}})");
  ASSERT_FALSE(config);
  EXPECT_EQ(config.error().code, Code::kUnsupported);
  EXPECT_NE(config.error().message.find("'awq'"), std::string::npos);
}

}  // namespace
}  // namespace cohort::formats
