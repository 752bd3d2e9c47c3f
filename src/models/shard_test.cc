// A model cut into ranks or stages gives the logits of the whole.
#include <algorithm>

#include <gtest/gtest.h>

#include "backend/testing/backends.h"
#include "base/json.h"
#include "formats/checkpoint.h"
#include "models/golden.h"
#include "models/testing/tensor_group.h"

namespace cohort::models {
namespace {

namespace fs = std::filesystem;
using backend::testing::TestBackend;
using testing::make_kv;
using testing::TensorGroup;

const fs::path kFixtures = fs::path(COHORT_SOURCE_DIR) / "tests/data/models";

struct TensorCase {
  const char* fixture;
  std::vector<double> fractions;

  std::string name() const {
    std::string text = fixture;
    for (const double fraction : fractions) text += fmt::format("_{:.0f}", fraction * 100);
    std::ranges::replace(text, '-', '_');
    return text;
  }
  friend void PrintTo(const TensorCase& test, std::ostream* out) { *out << test.name(); }
};

void expect_golden(const TensorCase& test, const std::vector<testing::MakeBackend>& backends) {
  const fs::path folder = kFixtures / test.fixture;
  const auto golden = read_golden(folder);
  ASSERT_TRUE(golden) << golden.error().message;
  const auto checkpoint = formats::Checkpoint::open(folder);
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  const auto group = TensorGroup::load(*checkpoint, test.fractions, golden->pages(), backends);
  ASSERT_TRUE(group) << group.error().message;
  const auto report =
      compare_with_golden(*golden, (*group)->target(), {.chunk = 11, .reuse_prefix = true});
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_TRUE(report->pass) << dump_json(to_json(*report));
}

class TensorParallel : public ::testing::TestWithParam<TensorCase> {};

TEST_P(TensorParallel, GivesTheLogitsOfOne) { expect_golden(GetParam(), {testing::exact_backend}); }

// Every backend with itself and with the CPU's, on either rank.
TEST_P(TensorParallel, GivesTheLogitsOfOneWhateverEachRankComputesOn) {
  for (const TestBackend& other : backend::testing::exact_backends()) {
    if (other.name == "cpu") continue;
    SCOPED_TRACE(other.name);
    if (other.name != "lazy") expect_golden(GetParam(), {other.make});
    expect_golden(GetParam(), {other.make, testing::exact_backend});
    expect_golden(GetParam(), {testing::exact_backend, other.make});
  }
}

const std::vector<double> kHalves = {0.5, 0.5};
const std::vector<double> kUneven = {0.55, 0.3, 0.15};
const std::vector<double> kQuarters = {0.25, 0.25, 0.25, 0.25};
const std::vector<double> kEighths(8, 0.125);

INSTANTIATE_TEST_SUITE_P(
    All, TensorParallel,
    ::testing::Values(TensorCase{"llama-bf16", kHalves}, TensorCase{"llama-q4", kHalves},
                      TensorCase{"llama-mxfp4", kUneven}, TensorCase{"llama-nvfp4", {0.3, 0.7}},
                      TensorCase{"llama-q3", kQuarters}, TensorCase{"llama-bf16", kEighths},
                      TensorCase{"mistral-q4", kHalves}, TensorCase{"ministral3-bf16", kUneven},
                      TensorCase{"ministral3-q4", kHalves}, TensorCase{"qwen2-bf16", kUneven},
                      TensorCase{"qwen2-q8", kHalves}, TensorCase{"qwen3-q4", kUneven},
                      TensorCase{"qwen3-bf16", kEighths}, TensorCase{"qwen3_moe-q4", kHalves},
                      TensorCase{"qwen3_moe-bf16", kUneven}, TensorCase{"qwen3_moe-q8", kQuarters},
                      TensorCase{"deepseek_v3-bf16", kUneven},
                      TensorCase{"deepseek_v3-q4", kHalves}, TensorCase{"kimi_k2-bf16", kHalves},
                      TensorCase{"kimi_k2-q4g32", {0.7, 0.3}}, TensorCase{"gpt_oss-bf16", kHalves},
                      TensorCase{"gpt_oss-mxfp4q8", {0.3, 0.7}},
                      TensorCase{"gpt_oss-q4g32", kQuarters}),
    [](const auto& test) { return test.param.name(); });

// Stages run one after the other, the residual stream handed on as numbers.
void expect_golden(const std::string& fixture, const TestBackend& first,
                   const TestBackend& second) {
  SCOPED_TRACE(first.name + " then " + second.name);
  const fs::path folder = kFixtures / fixture;
  const auto golden = read_golden(folder);
  const auto checkpoint = formats::Checkpoint::open(folder);
  ASSERT_TRUE(golden && checkpoint);
  const auto front_backend = first.make(), back_backend = second.make();
  const auto front = make_model(*checkpoint, {.first_layer = 0, .last_layer = 1}, *front_backend);
  const auto back = make_model(*checkpoint, {.first_layer = 1}, *back_backend);
  ASSERT_TRUE(front) << front.error().message;
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_TRUE((*front)->info().first_stage && !(*front)->info().last_stage);
  EXPECT_TRUE(!(*back)->info().first_stage && (*back)->info().last_stage);
  EXPECT_EQ((*front)->info().kv.layers.size(), 1u);
  ASSERT_TRUE(make_kv(**front, *front_backend, golden->pages()));
  ASSERT_TRUE(make_kv(**back, *back_backend, golden->pages()));

  const int32_t width = (*front)->info().width;
  const GoldenTarget target{
      .step = [&](const backend::StepPlan& plan, std::span<float> logits) -> Result<void> {
        std::vector<float> stream(plan.tokens.size() * static_cast<size_t>(width));
        front_backend->begin_step(plan);
        COHORT_TRY_VOID(front_backend->read((*front)->forward(*front_backend, plan, {}), stream));
        back_backend->begin_step(plan);
        const backend::Tensor input = back_backend->input(stream, width);
        return back_backend->read((*back)->forward(*back_backend, plan, input), logits);
      },
      .copy_kv_page =
          [&](int32_t from, int32_t to) {
            front_backend->copy_kv_page(from, to);
            back_backend->copy_kv_page(from, to);
          }};
  const auto report = compare_with_golden(*golden, target, {.chunk = 7, .reuse_prefix = true});
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_TRUE(report->pass) << dump_json(to_json(*report));
}

class Pipeline : public ::testing::TestWithParam<const char*> {};

TEST_P(Pipeline, GivesTheLogitsOfOneWhateverEachStageComputesOn) {
  for (const TestBackend& first : backend::testing::exact_backends()) {
    for (const TestBackend& second : backend::testing::exact_backends())
      expect_golden(GetParam(), first, second);
  }
}

INSTANTIATE_TEST_SUITE_P(All, Pipeline,
                         ::testing::Values("llama-q4", "qwen3_moe-q4", "deepseek_v3-q4",
                                           "gpt_oss-mxfp4q8"),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace cohort::models
