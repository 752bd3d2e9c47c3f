// A step of decode that is like the ones before it takes nothing from the system: no allocation, no page fault. A program of
// its own, since it replaces operator new.
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <new>
#include <vector>

#include <gtest/gtest.h>

#include "backend/cpu/cpu_backend.h"
#include "formats/checkpoint.h"
#include "models/model.h"

namespace {

std::atomic<int64_t> allocations{0};

void* counted(size_t size, size_t alignment) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  void* memory = alignment > alignof(std::max_align_t)
                     ? std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment)
                     : std::malloc(size);
  if (memory == nullptr) std::abort();
  return memory;
}

}  // namespace

void* operator new(size_t size) { return counted(size, 1); }
void* operator new(size_t size, std::align_val_t alignment) {
  return counted(size, static_cast<size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }

namespace cohort::models {
namespace {

constexpr int32_t kSteps = 100;

struct Taken {
  int64_t allocations = 0;
  int64_t page_faults = 0;
};

Taken taken_so_far() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return {allocations.load(), usage.ru_minflt + usage.ru_majflt};
}

class Decoding {
 public:
  explicit Decoding(const std::string& fixture, const backend::CpuOptions& options)
      : checkpoint_(formats::Checkpoint::open(std::filesystem::path(COHORT_SOURCE_DIR) /
                                              "tests/data/models" / fixture)
                        .value()),
        backend_(backend::make_cpu_backend(options)),
        model_(make_model(checkpoint_, {}, *backend_).value()) {
    constexpr int32_t kPages = kSteps / backend::kPageTokens + 1;
    EXPECT_TRUE(backend_->create_kv(model_->info().kv, kPages));
    plan_ = {.tokens = {3}, .runs = {{.rows = 1}}, .logits_rows = {0}};
    for (int32_t page = 0; page < kPages; ++page) plan_.runs[0].pages.push_back(page);
    logits_.resize(static_cast<size_t>(model_->info().vocab_size));
  }

  // One token a step, from position 0 on.
  bool decode_all() {
    bool fine = true;
    for (int32_t position = 0; position < kSteps; ++position) {
      plan_.runs[0].first_position = position;
      backend_->begin_step(plan_);
      fine &= backend_->read(model_->forward(*backend_, plan_, {}), logits_).has_value();
    }
    return fine;
  }

 private:
  formats::Checkpoint checkpoint_;
  std::unique_ptr<backend::Backend> backend_;
  std::unique_ptr<Model> model_;
  backend::StepPlan plan_;
  std::vector<float> logits_;
};

struct Case {
  const char* name;
  const char* fixture;
  backend::CpuOptions options;

  friend void PrintTo(const Case& test, std::ostream* out) { *out << test.name; }
};
class SteadyDecode : public ::testing::TestWithParam<Case> {};

TEST_P(SteadyDecode, TakesNothingFromTheSystem) {
  Decoding decoding(GetParam().fixture, GetParam().options);
  ASSERT_TRUE(decoding.decode_all());
  ASSERT_GT(taken_so_far().allocations, 0);
  // Whatever else the machine does may cost a round some faults; a step that needs them costs every round.
  int64_t fewest_faults = std::numeric_limits<int64_t>::max();
  for (int round = 0; round < 5 && fewest_faults > 0; ++round) {
    const Taken before = taken_so_far();
    ASSERT_TRUE(decoding.decode_all());
    const Taken after = taken_so_far();
    ASSERT_EQ(after.allocations, before.allocations);
    fewest_faults = std::min(fewest_faults, after.page_faults - before.page_faults);
  }
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // their own memory faults
  EXPECT_EQ(fewest_faults, 0);
#endif
}

using backend::Math;
INSTANTIATE_TEST_SUITE_P(
    All, SteadyDecode,
    ::testing::Values(
        Case{"dense", "llama-q4", {.threads = 1, .math = Math::kFast}},
        Case{"dense_on_two_threads", "qwen3-q8", {.threads = 2, .math = Math::kFast}},
        Case{"dense_bf16", "llama-bf16", {.threads = 1, .math = Math::kFast}},
        Case{"dense_f32", "qwen2-q4", {.threads = 1, .math = Math::kF32}},
        Case{"mixture", "qwen3_moe-q4", {.threads = 1, .math = Math::kInt8}},
        Case{"latent_attention", "deepseek_v3-q4", {.threads = 1, .math = Math::kFast}},
        Case{"sinks_and_windows", "gpt_oss-mxfp4q8", {.threads = 1, .math = Math::kFast}}),
    [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace cohort::models
