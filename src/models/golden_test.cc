#include "models/golden.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>

#include <gtest/gtest.h>

#include "backend/cpu/cpu_backend.h"
#include "backend/mlx/mlx_backend.h"
#include "backend/testing/backends.h"
#include "formats/checkpoint.h"

namespace cohort::models {
namespace {

namespace fs = std::filesystem;

const fs::path kFixtures = fs::path(COHORT_SOURCE_DIR) / "tests/data/models";

constexpr double kFastTolerance = 0.35;  // logits have a standard deviation of 2 to 3

std::unique_ptr<backend::Backend> exact_backend() {
  return backend::make_cpu_backend({.threads = 1, .math = backend::Math::kF32});
}

// Every way a sequence may come about gives the same logits.
struct GoldenCase {
  backend::testing::TestBackend backend;
  std::string fixture;

  friend void PrintTo(const GoldenCase& test, std::ostream* out) {
    *out << test.backend.name << " " << test.fixture;
  }
};
class GoldenLogits : public ::testing::TestWithParam<GoldenCase> {};

TEST_P(GoldenLogits, AreMetWholeChunkedAndThroughAReusedPrefix) {
  const fs::path folder = kFixtures / GetParam().fixture;
  const auto golden = read_golden(folder);
  ASSERT_TRUE(golden) << golden.error().message;
  const auto checkpoint = formats::Checkpoint::open(folder);
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  const auto backend = GetParam().backend.make();
  const auto model = make_model(*checkpoint, {}, *backend);
  ASSERT_TRUE(model) << model.error().message;
  backend::KvSpec kv = (*model)->info().kv;
  kv.type = backend::KvType::kF32;
  ASSERT_TRUE(backend->create_kv(kv, golden->pages()));

  const GoldenOptions ways[] = {{.chunk = 0},
                                {.chunk = 1},
                                {.chunk = 7},
                                {.chunk = 16},
                                {.chunk = 0, .reuse_prefix = true},
                                {.chunk = 3, .reuse_prefix = true}};
  double largest = 0;
  for (const GoldenOptions& way : ways) {
    const auto report = compare_with_golden(*golden, golden_target(**model, *backend), way);
    ASSERT_TRUE(report) << report.error().message;
    EXPECT_TRUE(report->pass) << "chunk " << way.chunk << " reuse " << way.reuse_prefix << ": "
                              << dump_json(to_json(*report));
    largest = std::max({largest, report->prefill.max_abs, report->decode.max_abs});
  }
  RecordProperty("max_abs", fmt::format("{:.2e}", largest));
  fmt::print("{} on {}: max_abs {:.2e}\n", GetParam().fixture, GetParam().backend.name, largest);
}

class FastLogits : public ::testing::TestWithParam<const char*> {};

TEST_P(FastLogits, StayNear) {
  for (const backend::Math math : {backend::Math::kFast, backend::Math::kInt8}) {
    const auto backend = backend::make_cpu_backend({.threads = 1, .math = math});
    const auto report = verify_checkpoint(kFixtures / GetParam(), *backend, backend::KvType::kF16,
                                          {.tolerance = kFastTolerance, .judge_by_median = true});
    ASSERT_TRUE(report) << report.error().message;
    EXPECT_TRUE(report->pass) << dump_json(to_json(*report));
  }
}

const char* const kAll[] = {
    "llama-bf16",       "llama-q3",        "llama-q4",       "llama-q5",     "llama-q6",
    "llama-q8",         "llama-mxfp4",     "llama-nvfp4",    "mistral-q4",   "ministral3-bf16",
    "ministral3-q4",    "qwen2-bf16",      "qwen2-q4",       "qwen2-q8",     "qwen3-bf16",
    "qwen3-q4",         "qwen3-q8",        "qwen3_moe-bf16", "qwen3_moe-q4", "qwen3_moe-q8",
    "deepseek_v3-bf16", "deepseek_v3-q4",  "deepseek_v3-q8", "kimi_k2-bf16", "kimi_k2-q4g32",
    "gpt_oss-bf16",     "gpt_oss-mxfp4q8", "gpt_oss-q4g32"};
// The seam's double is slow; a fixture a family shows that no model counts on eager results.
const char* const kOneAFamily[] = {"llama-q4",       "mistral-q4",   "ministral3-q4",
                                   "qwen2-q4",       "qwen3-q4",     "qwen3_moe-q4",
                                   "deepseek_v3-q4", "kimi_k2-bf16", "gpt_oss-mxfp4q8"};

std::vector<GoldenCase> golden_cases() {
  std::vector<GoldenCase> cases;
  for (const auto& backend : backend::testing::exact_backends()) {
    const std::span<const char* const> fixtures =
        backend.name == "lazy" ? std::span(kOneAFamily) : std::span<const char* const>(kAll);
    for (const char* fixture : fixtures) cases.push_back({backend, fixture});
  }
  return cases;
}

std::string test_name(std::string name) {
  std::ranges::replace(name, '-', '_');
  return name;
}
INSTANTIATE_TEST_SUITE_P(All, GoldenLogits, ::testing::ValuesIn(golden_cases()),
                         [](const auto& test) {
                           return test_name(test.param.backend.name + "_" + test.param.fixture);
                         });
INSTANTIATE_TEST_SUITE_P(All, FastLogits, ::testing::ValuesIn(kAll),
                         [](const auto& test) { return test_name(test.param); });

class MlxFastLogits : public ::testing::TestWithParam<std::string> {};

TEST_P(MlxFastLogits, StayNear) {
  const auto made = backend::make_mlx_backend({.math = backend::Math::kFast});
  ASSERT_TRUE(made) << made.error().message;
  const auto report = verify_checkpoint(kFixtures / GetParam(), **made, backend::KvType::kF16,
                                        {.tolerance = kFastTolerance, .judge_by_median = true});
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_TRUE(report->pass) << dump_json(to_json(*report));
}

std::vector<std::string> fixtures_of_mlx() {
  if (!backend::testing::has_mlx()) return {};
  return {std::begin(kAll), std::end(kAll)};
}
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(MlxFastLogits);
INSTANTIATE_TEST_SUITE_P(All, MlxFastLogits, ::testing::ValuesIn(fixtures_of_mlx()),
                         [](const auto& test) { return test_name(test.param); });

TEST(Golden, VerifiesAFolderInOneCall) {
  const auto backend = exact_backend();
  const auto report =
      verify_checkpoint(kFixtures / "qwen2-q4", *backend, backend::KvType::kF32, {.chunk = 5});
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_TRUE(report->pass);
  EXPECT_GT(report->prefill.max_abs, 0);
}

// Without this the comparison itself could be vacuous.
TEST(Golden, AWrongLogitIsNoticed) {
  const auto golden = read_golden(kFixtures / "llama-q4");
  ASSERT_TRUE(golden);
  Golden wrong = *golden;
  wrong.logits_prefill[5] += 0.01f;
  wrong.logits_decode.back() += 0.02f;
  const auto checkpoint = formats::Checkpoint::open(kFixtures / "llama-q4");
  const auto backend = exact_backend();
  const auto model = make_model(*checkpoint, {}, *backend);
  ASSERT_TRUE(model);
  backend::KvSpec kv = (*model)->info().kv;
  kv.type = backend::KvType::kF32;
  ASSERT_TRUE(backend->create_kv(kv, golden->pages()));
  const auto report = compare_with_golden(wrong, golden_target(**model, *backend), {});
  ASSERT_TRUE(report);
  EXPECT_FALSE(report->pass);
  EXPECT_TRUE(report->greedy_agree);
  EXPECT_NEAR(report->prefill.max_abs, 0.01, 1e-3);
  EXPECT_NEAR(report->decode.max_abs, 0.02, 1e-3);
  EXPECT_LT(report->prefill.row_max_median, 1e-3);

  wrong = *golden;
  wrong.decode_tokens[3] ^= 1;
  EXPECT_FALSE(compare_with_golden(wrong, golden_target(**model, *backend), {})->greedy_agree);
}

TEST(Golden, AFolderWithoutOneIsNamed) {
  const auto golden = read_golden(kFixtures / "nowhere");
  ASSERT_FALSE(golden);
  EXPECT_NE(golden.error().message.find("golden.safetensors"), std::string::npos);
}

fs::path shared_fixtures() {
  if (const char* folder = std::getenv("COHORT_FIXTURES")) return folder;
  return fs::path(COHORT_SOURCE_DIR) / "../shared/fixtures";
}

TEST(TrainedModel, ContinuesAsItsReferenceDoes) {
  const fs::path folder = shared_fixtures() / "stories260K";
  if (!fs::exists(folder)) GTEST_SKIP() << folder << " is not here";
  const auto checkpoint = formats::Checkpoint::open(folder);
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  const auto backend = exact_backend();
  const auto model = make_model(*checkpoint, {}, *backend);
  ASSERT_TRUE(model) << model.error().message;
  backend::KvSpec kv = (*model)->info().kv;
  kv.type = backend::KvType::kF32;

  std::ifstream file(folder / "golden.json");
  const Json golden = Json::parse(file);
  auto tokens = golden["prompt_ids"].get<std::vector<int32_t>>();
  const auto wanted = golden["greedy_ids"].get<std::vector<int32_t>>();
  const auto pages =
      static_cast<int32_t>((tokens.size() + wanted.size()) / backend::kPageTokens + 1);
  ASSERT_TRUE(backend->create_kv(kv, pages));
  backend::SequenceRun run{.pages = {}};
  for (int32_t page = 0; page < pages; ++page) run.pages.push_back(pages - 1 - page);

  std::vector<int32_t> got;
  std::vector<float> logits(static_cast<size_t>((*model)->info().vocab_size));
  while (got.size() < wanted.size()) {
    run.rows = static_cast<int32_t>(tokens.size());
    const backend::StepPlan plan{.tokens = tokens, .runs = {run}, .logits_rows = {run.rows - 1}};
    ASSERT_TRUE(golden_target(**model, *backend).step(plan, logits));
    run.first_position += run.rows;
    got.push_back(static_cast<int32_t>(std::ranges::max_element(logits) - logits.begin()));
    tokens = {got.back()};
  }
  EXPECT_EQ(got, wanted);
  const auto report =
      verify_checkpoint(folder, *exact_backend(), backend::KvType::kF32, {.chunk = 2});
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_TRUE(report->pass) << dump_json(to_json(*report));
}

}  // namespace
}  // namespace cohort::models
