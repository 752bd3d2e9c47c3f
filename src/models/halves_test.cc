// A step in halves gives what the step gives.
#include "models/halves.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "backend/testing/backends.h"
#include "formats/checkpoint.h"
#include "models/golden.h"
#include "models/testing/tensor_group.h"

namespace cohort::models {
namespace {

namespace fs = std::filesystem;
using backend::StepPlan;

// Two sequences, of 5 and 7 rows.
StepPlan two_sequences() {
  StepPlan plan{.runs = {{.first_row = 0, .rows = 5, .first_position = 40, .pages = {1, 2}},
                         {.first_row = 5, .rows = 7, .first_position = 3, .pages = {9}}}};
  plan.tokens.resize(12);
  std::iota(plan.tokens.begin(), plan.tokens.end(), 100);
  return plan;
}

TEST(Halves, ARunMayBeCutInTwo) {
  StepPlan plan = two_sequences();
  plan.logits_rows = {7, 11};
  const auto [first, second] = halves_of(plan);
  EXPECT_EQ(first.tokens, (std::vector<int32_t>{100, 101, 102, 103, 104, 105}));
  ASSERT_EQ(first.runs.size(), 2u);
  EXPECT_EQ(first.runs[1].rows, 1);
  EXPECT_EQ(first.runs[1].first_position, 3);
  EXPECT_TRUE(first.logits_rows.empty());
  ASSERT_EQ(second.runs.size(), 1u);
  EXPECT_EQ(second.runs[0].first_row, 0);
  EXPECT_EQ(second.runs[0].rows, 6);
  EXPECT_EQ(second.runs[0].first_position, 4);
  EXPECT_EQ(second.runs[0].pages, (std::vector<int32_t>{9}));
  EXPECT_EQ(second.logits_rows, (std::vector<int32_t>{1, 5}));
}

TEST(Halves, LogitsOfTheFirstHalfForbidIt) {
  StepPlan plan = two_sequences();
  EXPECT_TRUE(can_be_halved(plan));
  plan.logits_rows = {4, 11};
  EXPECT_FALSE(can_be_halved(plan));
  EXPECT_FALSE(can_be_halved({.tokens = {1}}));
}

struct Case {
  const char* fixture;
  std::vector<double> fractions;

  friend void PrintTo(const Case& test, std::ostream* out) { *out << test.fixture; }
};

class HalvedSteps : public ::testing::TestWithParam<Case> {
 protected:
  // The logits after the golden prompt, and after one token more, which sees what the prompt left in the cache.
  std::vector<float> logits(const std::vector<testing::MakeBackend>& backends, bool in_halves) {
    const fs::path folder = fs::path(COHORT_SOURCE_DIR) / "tests/data/models" / GetParam().fixture;
    const auto golden = read_golden(folder);
    const auto checkpoint = formats::Checkpoint::open(folder);
    COHORT_CHECK(golden && checkpoint);
    const auto group =
        testing::TensorGroup::load(*checkpoint, GetParam().fractions, golden->pages(), backends);
    COHORT_CHECK(group);
    const auto rows = static_cast<int32_t>(golden->tokens.size());
    const auto vocab = static_cast<size_t>(golden->vocab_size);
    std::vector<float> both(2 * vocab);
    std::vector<int32_t> pages(static_cast<size_t>(golden->pages()));
    std::iota(pages.begin(), pages.end(), 0);
    const StepPlan prompt{.tokens = golden->tokens,
                          .runs = {{.rows = rows, .pages = pages}},
                          .logits_rows = {rows - 1},
                          .in_halves = in_halves};
    const StepPlan next{.tokens = {golden->decode_tokens[0]},
                        .runs = {{.rows = 1, .first_position = rows, .pages = pages}},
                        .logits_rows = {0}};
    const GoldenTarget target = (*group)->target();
    EXPECT_TRUE(target.step(prompt, std::span(both).first(vocab)));
    EXPECT_TRUE(target.step(next, std::span(both).subspan(vocab)));
    return both;
  }
};

TEST_P(HalvedSteps, GiveTheLogitsOfTheWhole) {
  const std::vector<float> whole = logits({testing::exact_backend}, false);
  EXPECT_EQ(logits({testing::exact_backend}, true), whole) << "to the last bit";
}

TEST_P(HalvedSteps, GiveTheLogitsOfTheWholeWhateverEachRankComputesOn) {
  const std::vector<float> whole = logits({testing::exact_backend}, false);
  for (const auto& other : backend::testing::exact_backends()) {
    SCOPED_TRACE(other.name);
    const std::vector<float> halved = logits({testing::exact_backend, other.make}, true);
    for (size_t i = 0; i < whole.size(); ++i) ASSERT_NEAR(halved[i], whole[i], 1e-3);
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, HalvedSteps,
    ::testing::Values(Case{"llama-q4", {0.5, 0.5}}, Case{"ministral3-bf16", {0.55, 0.3, 0.15}},
                      Case{"qwen2-q8", {0.5, 0.5}}, Case{"qwen3-q4", {0.7, 0.3}},
                      Case{"qwen3_moe-q4", {0.5, 0.5}}, Case{"deepseek_v3-q4", {0.5, 0.5}},
                      Case{"gpt_oss-bf16", {0.25, 0.25, 0.25, 0.25}}),
    [](const auto& test) {
      std::string name = test.param.fixture;
      std::ranges::replace(name, '-', '_');
      return name;
    });

}  // namespace
}  // namespace cohort::models
