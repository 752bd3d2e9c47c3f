#include "runner/kv_plan.h"

#include <gtest/gtest.h>

namespace cohort::runner {
namespace {

constexpr uint64_t kMiB = 1u << 20;

TEST(KvPlan, TakesTheModelsContextAndRoomForOthersWhenMemoryAllows) {
  const auto plan = plan_kv(
      {.page_bytes = kMiB, .left_bytes = 10'000 * kMiB, .model_context = 8192, .max_sequences = 3});
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->context_length, 8192);
  EXPECT_EQ(plan->pages, 8192 / 32 + 2 * 4096 / 32);
}

TEST(KvPlan, ShrinksAnOpenContextToWhatFits) {
  const auto plan = plan_kv(
      {.page_bytes = kMiB, .left_bytes = 100 * kMiB, .model_context = 8192, .max_sequences = 8});
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->context_length, 3200);
  EXPECT_EQ(plan->pages, 100);
}

TEST(KvPlan, AContextThatIsAskedForFitsOrIsRefusedWithTheRemedy) {
  KvWish wish{.page_bytes = kMiB,
              .left_bytes = 100 * kMiB,
              .model_context = 8192,
              .context_length = 3200,
              .max_sequences = 8};
  EXPECT_EQ(plan_kv(wish)->context_length, 3200);
  wish.context_length = 3201;
  const auto refused = plan_kv(wish);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kUnavailable);
  EXPECT_NE(refused.error().message.find("1.0 MiB missing"), std::string::npos)
      << refused.error().message;
  EXPECT_NE(refused.error().message.find("a context of 3200 tokens would fit"), std::string::npos);
}

TEST(KvPlan, AContextBeyondTheModelsIsRefused) {
  const auto refused = plan_kv({.page_bytes = 1,
                                .left_bytes = 10'000,
                                .model_context = 1024,
                                .context_length = 1025,
                                .max_sequences = 1});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kInvalidArgument);
}

TEST(KvPlan, AnOpenContextTooSmallToBeOfUseIsRefused) {
  const auto refused = plan_kv(
      {.page_bytes = kMiB, .left_bytes = 15 * kMiB, .model_context = 8192, .max_sequences = 1});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kUnavailable);
  EXPECT_FALSE(
      plan_kv({.page_bytes = kMiB, .left_bytes = 0, .model_context = 8192, .max_sequences = 1}));
  EXPECT_TRUE(plan_kv(
      {.page_bytes = kMiB, .left_bytes = 2 * kMiB, .model_context = 64, .max_sequences = 1}));
}

TEST(KvPlan, AModelWithoutALimitGetsAnOrdinaryOne) {
  EXPECT_EQ(plan_kv({.page_bytes = 1, .left_bytes = 1'000'000, .max_sequences = 1})->context_length,
            4096);
  EXPECT_EQ(
      plan_kv(
          {.page_bytes = 1, .left_bytes = 1'000'000, .context_length = 9000, .max_sequences = 1})
          ->context_length,
      9000);
}

TEST(KvPlan, KvTypesAreKnownByName) {
  EXPECT_EQ(parse_kv_type("q8"), backend::KvType::kQ8);
  EXPECT_FALSE(parse_kv_type("int3"));
}

}  // namespace
}  // namespace cohort::runner
