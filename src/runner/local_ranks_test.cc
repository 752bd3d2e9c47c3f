// Every family, cut in every way it allows: the logits of the whole.
#include "runner/local_ranks.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/json.h"
#include "models/golden.h"

namespace cohort::runner {
namespace {

namespace fs = std::filesystem;

int32_t layers_of(const fs::path& folder) {
  return formats::Checkpoint::open(folder)->config()["num_hidden_layers"].get<int32_t>();
}

// A fixture, and how many ranks share a layer at most: heads are indivisible, and so are quantisation groups.
struct Cut {
  const char* fixture;
  int32_t tensor_ranks;
};

// How the cut model compares with the golden logits; or why it cannot be cut so.
Result<models::GoldenReport> compare(const fs::path& folder, const LayoutWish& wish,
                                     const std::string& wire = "f32",
                                     const models::GoldenOptions& options = {
                                         .chunk = 11, .reuse_prefix = true}) {
  COHORT_TRY(const models::Golden golden, models::read_golden(folder));
  LocalRanksOptions local{
      .command = {.model = folder.string(), .threads = 1, .kv_type = "f32", .math = "f32"},
      .links = wish.ranks % 2 == 0 ? transport::LinkType::kTcp : transport::LinkType::kShm,
      .kv_pages = golden.pages()};
  COHORT_TRY(local.command.group, make_layout(wish));
  local.command.group->wire = wire;
  COHORT_TRY(const auto ranks, LocalRanks::start(local));
  RankExecutor& executor = ranks->executor();
  return models::compare_with_golden(
      golden,
      {.step = [&](const auto& plan, auto logits) { return executor.run(plan, logits); },
       .copy_kv_page = [&](int32_t from, int32_t to) { executor.copy_kv_page(from, to); }},
      options);
}

class Family : public ::testing::TestWithParam<Cut> {
 protected:
  void expect_same_or_refused(const LayoutWish& wish, int32_t limit) const {
    const auto report = compare(folder_, wish);
    if (wish.ranks > limit) {
      ASSERT_FALSE(report);
      EXPECT_NE(report.error().message.find("too few for"), std::string::npos)
          << report.error().message;
      return;
    }
    ASSERT_TRUE(report) << report.error().message;
    EXPECT_TRUE(report->pass) << dump_json(to_json(*report));
  }

  const fs::path folder_ = fs::path(COHORT_SOURCE_DIR) / "tests/data/models" / GetParam().fixture;
  const int32_t layers_ = layers_of(folder_);
};

TEST_P(Family, GivesTheSameLogitsOnTensorRanks) {
  for (int32_t ranks = 2; ranks <= 5; ++ranks)
    expect_same_or_refused({"tensor", ranks, {}, layers_}, GetParam().tensor_ranks);
  expect_same_or_refused({"tensor", 3, {0.5, 0.3, 0.2}, layers_}, GetParam().tensor_ranks);
}

TEST_P(Family, GivesTheSameLogitsInPipelineStages) {
  for (int32_t ranks = 2; ranks <= 5; ++ranks)
    expect_same_or_refused({"pipeline", ranks, {}, layers_}, layers_);
}

TEST_P(Family, GivesTheSameLogitsInStagesOfTensorRanks) {
  expect_same_or_refused({"pipeline+tensor", 4, {}, layers_}, 4);
}

INSTANTIATE_TEST_SUITE_P(All, Family,
                         ::testing::Values(Cut{"llama-bf16", 8}, Cut{"mistral-q4", 2},
                                           Cut{"ministral3-bf16", 8}, Cut{"qwen2-bf16", 4},
                                           Cut{"qwen3-bf16", 8}, Cut{"qwen3_moe-bf16", 8},
                                           Cut{"deepseek_v3-bf16", 4}, Cut{"kimi_k2-bf16", 4},
                                           Cut{"gpt_oss-bf16", 8}),
                         [](const auto& test) {
                           std::string name = test.param.fixture;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

TEST(LocalRanks, ShortWiresStayNear) {
  const fs::path folder = fs::path(COHORT_SOURCE_DIR) / "tests/data/models/llama-bf16";
  for (const char* sharding : {"tensor", "pipeline"}) {
    double last = 0;
    for (const char* wire : {"f32", "bf16", "q8"}) {
      const auto report = compare(folder, {sharding, 3, {}, 4}, wire);
      ASSERT_TRUE(report) << report.error().message;
      EXPECT_GE(report->divergence.kl_mean, last) << sharding << " " << wire;
      EXPECT_LT(report->divergence.kl_mean, 1e-3) << sharding << " " << wire;
      last = report->divergence.kl_mean;
    }
  }
}

}  // namespace
}  // namespace cohort::runner
