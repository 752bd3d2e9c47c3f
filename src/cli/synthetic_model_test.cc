#include "cli/synthetic_model.h"

#include <gtest/gtest.h>

#include <unistd.h>

#include "runner/loaded_model.h"
#include "runner/placement.h"

namespace cohort::cli {
namespace {

constexpr ModelShape kSmall{.layers = 2,
                            .width = 128,
                            .heads = 4,
                            .kv_heads = 2,
                            .head_dim = 32,
                            .feed_forward = 256,
                            .vocabulary = 320,
                            .tied = false};

constexpr int32_t kMxfp4 = -4;  // else bits

ModelShape small_of(int32_t format) {
  ModelShape shape = kSmall;
  shape.bits = std::abs(format);
  shape.mxfp4 = format == kMxfp4;
  return shape;
}

class SyntheticModel : public testing::TestWithParam<int32_t> {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / fmt::format("cohort-shape-{}", ::getpid());
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path folder_;
};

TEST_P(SyntheticModel, LoadsLikeAnyModelAndItsTokensAreNumbers) {
  ModelShape shape = small_of(GetParam());
  ASSERT_TRUE(write_synthetic_model(shape, folder_));
  const auto model =
      runner::load_model({.model = folder_.string(), .threads = 1}, runner::Placement{}, {});
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(model->model->info().layers, shape.layers);
  EXPECT_EQ(model->model->info().vocab_size, shape.vocabulary);
  const std::vector<text::TokenId> tokens{17, 300};
  EXPECT_EQ(model->tokenizer->decode(tokens, true), " 17 300");
}
TEST_P(SyntheticModel, AMixtureLoadsToo) {
  ModelShape shape = small_of(GetParam());
  shape.experts = 4;
  shape.experts_per_token = 2;
  ASSERT_TRUE(write_synthetic_model(shape, folder_));
  const auto model =
      runner::load_model({.model = folder_.string(), .threads = 1}, runner::Placement{}, {});
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(model->model->info().model_type, "qwen3_moe");
}

INSTANTIATE_TEST_SUITE_P(Formats, SyntheticModel, testing::Values(4, 8, 16, kMxfp4));

TEST(ModelShape, AnUnknownNameIsRefusedWithThoseThereAre) {
  EXPECT_EQ(parse_shape("1b-q8").value().bits, 8);
  for (const char* name : {"", "1b", "1b-q5", "2b-q4", "-q4"}) {
    const auto shape = parse_shape(name);
    ASSERT_FALSE(shape) << name;
    EXPECT_NE(shape.error().message.find("1b"), std::string::npos);
    EXPECT_NE(shape.error().message.find("bf16"), std::string::npos);
  }
}

}  // namespace
}  // namespace cohort::cli
