// What only backend/mlx promises; the op suite says the rest.
#include "backend/mlx/mlx_backend.h"

#include <gtest/gtest.h>

#include "backend/mlx/core.h"

namespace cohort::backend {
namespace {

constexpr int kHeads = 4, kDim = 64, kColumns = kHeads * kDim;

// One row of each sequence, at the same position, with two pages each.
StepPlan decode_plan(int32_t position, int32_t sequences) {
  StepPlan plan;
  for (int32_t i = 0; i < sequences; ++i) {
    plan.tokens.push_back(0);
    plan.runs.push_back(
        {.first_row = i, .rows = 1, .first_position = position, .pages = {2 * i, 2 * i + 1}});
  }
  return plan;
}

class MlxCache : public ::testing::TestWithParam<int32_t> {};

TEST_P(MlxCache, IsUpdatedInPlaceByEveryStep) {
  constexpr int32_t kPages = 1024;
  const int32_t sequences = GetParam();
  const auto made = make_mlx_backend({.math = Math::kF32});
  ASSERT_TRUE(made) << made.error().message;
  Backend& backend = **made;
  const KvLayerSpec layer{.kv_heads = kHeads, .key_dim = kDim, .value_dim = kDim};
  ASSERT_TRUE(backend.create_kv({.layers = {layer, layer}, .type = KvType::kF32}, kPages));
  const uint64_t cache = backend.info().kv_bytes;
  ASSERT_GE(cache, 100u << 20);
  std::vector<float> values(kColumns * sequences, 0.5f);
  for (int32_t position = 0; position < 40; ++position) {
    const StepPlan plan = decode_plan(position, sequences);
    backend.begin_step(plan);
    Tensor out;
    for (int index = 0; index < 2; ++index) {
      const Tensor x = backend.input(values, kColumns);
      out = backend.attention(x, x, x, {.heads = kHeads, .layer = index});
    }
    ASSERT_TRUE(position % 2 == 0 ? backend.read(out, values) : backend.finish());
    if (position == 20) backend.copy_kv_page(0, 7);
  }
  EXPECT_LT(backend.info().scratch_bytes, cache / 16);
}
// Alone; attending together; too many for that.
INSTANTIATE_TEST_SUITE_P(Sequences, MlxCache, ::testing::Values(1, 3, 70));

TEST(MlxBackend, KeepsToItsMemoryLimit) {
  const std::vector<float> values(512 * 512, 1.0f);
  const MatrixPart part{
      .view = {
          .rows = 512,
          .columns = 512,
          .weight = {reinterpret_cast<const std::byte*>(values.data()), DType::kF32, {512, 512}}}};
  const auto made = make_mlx_backend({.memory_limit_bytes = 3 << 20});
  ASSERT_TRUE(made);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE((*made)->load_matrix({&part, 1}));
  const auto fourth = (*made)->load_matrix({&part, 1});
  ASSERT_FALSE(fourth);
  EXPECT_EQ(fourth.error().code, Code::kUnavailable);
  EXPECT_EQ((*made)->info().weight_bytes, 3u << 20);
  mlx_parts::mx::set_memory_limit(size_t{1} << 40);  // the process's, for the tests after this one
}

TEST(MlxBackend, WhatMlxThrowsBecomesAnError) {
  using mlx_parts::mx::reshape, mlx_parts::mx::zeros;
  const auto reshaped = mlx_parts::caught([] { return reshape(zeros({2}), {3}); });
  ASSERT_FALSE(reshaped);
  EXPECT_EQ(reshaped.error().code, Code::kInternal);
  EXPECT_TRUE(reshaped.error().message.starts_with("MLX: ")) << reshaped.error().message;
  EXPECT_EQ(mlx_parts::mlx_error("[malloc] Unable to allocate 8 bytes.").value().code,
            Code::kUnavailable);
}

TEST(MlxBackend, IsMeasuredThroughMlxItself) {
  const auto limits = measure_mlx_limits();
  ASSERT_TRUE(limits) << limits.error().message;
  EXPECT_GT(limits->read_bytes_per_s, 1e6);
  EXPECT_GT(limits->fast_operations_per_s, 1e6);
  EXPECT_GT(limits->f32_operations_per_s, 1e6);
}

}  // namespace
}  // namespace cohort::backend
