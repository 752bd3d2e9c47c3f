#include "kernels/matmul.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "kernels/kernels.h"
#include "kernels/test_matrix.h"
#include "kernels/testing/under_test.h"

namespace cohort::kernels {
namespace {

// Whole numbers that eight bits hold exactly: each group has one of the greatest magnitude.
std::vector<float> byte_activations(int64_t count, uint32_t seed) {
  std::mt19937 rng(seed);
  std::vector<float> x(static_cast<size_t>(count));
  for (size_t k = 0; k < x.size(); ++k) {
    x[k] = k % kActivationGroup == 0 ? -127.0f
                                     : static_cast<float>(static_cast<int>(rng() % 255) - 127);
  }
  return x;
}

// The product in double, and the mean square of what is summed in it: cancellation may leave any one y tiny.
struct Reference {
  std::vector<std::vector<double>> y;  // [m][r]
  double mean_square = 0;
};

std::vector<float> random_activations(int64_t count, uint32_t seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> values;
  std::vector<float> x(static_cast<size_t>(count));
  for (float& v : x) v = values(rng);
  return x;
}

Reference reference(const MatrixView& view, const std::vector<float>& x, int64_t x_rows) {
  Reference result;
  result.y.assign(static_cast<size_t>(x_rows), std::vector<double>(static_cast<size_t>(view.rows)));
  std::vector<float> weights(static_cast<size_t>(view.columns));
  for (int64_t r = 0; r < view.rows; ++r) {
    dequantize_row(view, 0, r, weights.data());
    for (int64_t m = 0; m < x_rows; ++m) {
      for (int64_t k = 0; k < view.columns; ++k) {
        const double product = static_cast<double>(weights[k]) * x[m * view.columns + k];
        result.y[m][r] += product;
        result.mean_square += product * product;
      }
    }
  }
  result.mean_square /= static_cast<double>(x_rows * view.rows);
  return result;
}

double relative_rms(const Reference& expected, const std::vector<float>& y, int64_t stride) {
  double error = 0;
  for (size_t m = 0; m < expected.y.size(); ++m) {
    for (size_t r = 0; r < expected.y[m].size(); ++r) {
      const double difference = y[m * static_cast<size_t>(stride) + r] - expected.y[m][r];
      error += difference * difference;
    }
  }
  const auto count = static_cast<double>(expected.y.size() * expected.y[0].size());
  return std::sqrt(error / count / expected.mean_square);
}

struct Case {
  const Kernels* kernels;
  TestFormat format;

  std::string name() const { return std::string(kernels->name) + "_" + format.name(); }
  friend void PrintTo(const Case& test, std::ostream* out) { *out << test.name(); }
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const Kernels* kernels : kernels_under_test()) {
    for (const TestFormat& format : test_formats()) all.push_back({kernels, format});
  }
  return all;
}

constexpr float kUntouched = -12345.0f;

class Matmul : public testing::TestWithParam<Case> {
 protected:
  // Columns that are small, that end inside a block, and that need more than one tile of a prefill.
  std::vector<int64_t> column_counts() const {
    const int64_t group = GetParam().format.quant.group_size;
    if (group == 0) return {1, 7, 33, 1061};
    return {group, 3 * group, (1200 / group) * group};
  }

  const MatmulKernels& kernels() const { return GetParam().kernels->matmul; }

  // Runs panels in two calls into rows of `stride` floats, and checks that nothing else was written.
  template <class Run>
  std::vector<float> run(const PackedMatrix& w, int64_t x_rows, Run run) const {
    const int64_t stride = w.rows + 3;
    std::vector<float> y(static_cast<size_t>(x_rows * stride), kUntouched);
    const int64_t panels = panel_count(w.rows), first = panels / 2;
    run(Range{first, panels - first}, Output{y.data(), stride});
    run(Range{0, first}, Output{y.data(), stride});
    for (int64_t m = 0; m < x_rows; ++m) {
      for (int64_t r = w.rows; r < stride; ++r) EXPECT_EQ(y[m * stride + r], kUntouched);
    }
    return y;
  }

  std::vector<float> decode_f32(const PackedMatrix& w, const std::vector<float>& x,
                                int64_t x_rows) const {
    const ActivationRows rows = {x.data(), w.columns, x_rows, w.columns};
    return run(w, x_rows,
               [&](Range panels, Output y) { kernels().decode_f32(w, panels, rows, y); });
  }

  std::vector<float> decode_i8(const PackedMatrix& w, const std::vector<float>& x,
                               int64_t x_rows) const {
    std::vector<QuantizedGroup> groups(static_cast<size_t>(quantized_groups(x_rows, w.columns)));
    for (int64_t m = 0; m < x_rows; ++m) {
      kernels().quantize_activation(x.data() + m * w.columns, w.columns, quantized_stride(x_rows),
                                    groups.data() + m);
    }
    return run(w, x_rows, [&](Range panels, Output y) {
      kernels().decode_i8(w, panels, {groups.data(), x_rows}, y);
    });
  }

  std::vector<float> decode_bf16(const PackedMatrix& w, const std::vector<float>& x,
                                 int64_t x_rows) const {
    std::vector<Bf16Group> groups(static_cast<size_t>(quantized_groups(x_rows, w.columns)));
    for (int64_t m = 0; m < x_rows; ++m) {
      kernels().round_activation(x.data() + m * w.columns, w.columns, quantized_stride(x_rows),
                                 groups.data() + m);
    }
    return run(w, x_rows, [&](Range panels, Output y) {
      kernels().decode_bf16(w, panels, {groups.data(), x_rows}, y);
    });
  }

  std::vector<float> prefill(const GemmKernels& gemm, const PackedMatrix& w,
                             const std::vector<float>& x, int64_t x_rows) const {
    AlignedBytes packed(gemm.packed_bytes(x_rows, w.columns));
    const ActivationRows rows = {x.data(), w.columns, x_rows, w.columns};
    const int64_t tiles = gemm.tile_count(x_rows);
    gemm.pack(rows, {tiles / 2, tiles - tiles / 2}, packed.data());
    gemm.pack(rows, {0, tiles / 2}, packed.data());
    return run(w, x_rows,
               [&](Range panels, Output y) { gemm.multiply(w, panels, packed.data(), x_rows, y); });
  }
};

constexpr int64_t kRows[] = {5, 47};

// Rounding errors of a short sum do not average out.
double tolerance(double typical, int64_t columns) { return columns > 1000 ? typical : 2 * typical; }

TEST_P(Matmul, DecodeInFloatIsExactToFloatRounding) {
  for (const int64_t columns : column_counts()) {
    for (const int64_t rows : kRows) {
      const TestMatrix source(GetParam().format, rows, columns, 1);
      const OwnedPacked packed = pack_all(source.view());
      for (const int64_t x_rows : {1, 2, 3, 8}) {
        const std::vector<float> x = random_activations(x_rows * columns, 2);
        const Reference expected = reference(source.view(), x, x_rows);
        EXPECT_LT(relative_rms(expected, decode_f32(packed.matrix, x, x_rows), rows + 3), 2e-6)
            << rows << " x " << columns << ", " << x_rows;
      }
    }
  }
}

TEST_P(Matmul, DecodeInBytesIsAsCloseAsEightBitActivationsAllow) {
  if (!kernels().has_decode_i8(packed_format(TestMatrix(GetParam().format, 1, 128, 1).view()))) {
    GTEST_SKIP() << "this format decodes in float";
  }
  for (const int64_t columns : column_counts()) {
    for (const int64_t rows : kRows) {
      const TestMatrix source(GetParam().format, rows, columns, 3);
      const OwnedPacked packed = pack_all(source.view());
      for (const int64_t x_rows : {1, 2, 4, 7}) {
        const std::vector<float> x = random_activations(x_rows * columns, 4);
        const Reference expected = reference(source.view(), x, x_rows);
        EXPECT_LT(relative_rms(expected, decode_i8(packed.matrix, x, x_rows), rows + 3),
                  tolerance(1e-2, columns))
            << rows << " x " << columns << ", " << x_rows;
      }
    }
  }
}

TEST_P(Matmul, DecodeInBytesIsExactWhenActivationsAreBytes) {
  const int64_t columns = column_counts().back(), rows = 33;
  const TestMatrix source(GetParam().format, rows, columns, 5);
  const OwnedPacked packed = pack_all(source.view());
  if (!kernels().has_decode_i8(packed.matrix.format))
    GTEST_SKIP() << "this format decodes in float";
  const std::vector<float> x = byte_activations(columns, 6);
  EXPECT_LT(relative_rms(reference(source.view(), x, 1), decode_i8(packed.matrix, x, 1), rows + 3),
            2e-6);
}

TEST_P(Matmul, DecodeInBf16IsAsCloseAsBf16Allows) {
  if (!kernels().has_decode_bf16(packed_format(TestMatrix(GetParam().format, 1, 128, 1).view()))) {
    GTEST_SKIP() << "no such kernel here";
  }
  for (const int64_t columns : column_counts()) {
    for (const int64_t rows : kRows) {
      const TestMatrix source(GetParam().format, rows, columns, 17);
      const OwnedPacked packed = pack_all(source.view());
      for (const int64_t x_rows : {1, 2, 3, 8}) {
        const std::vector<float> x = random_activations(x_rows * columns, 18);
        const Reference expected = reference(source.view(), x, x_rows);
        EXPECT_LT(relative_rms(expected, decode_bf16(packed.matrix, x, x_rows), rows + 3),
                  tolerance(3.5e-3, columns))
            << rows << " x " << columns << ", " << x_rows;
      }
    }
  }
}

TEST_P(Matmul, DecodeInBf16IsExactWhenActivationsAreBf16) {
  const int64_t columns = column_counts().back(), rows = 33;
  const TestMatrix source(GetParam().format, rows, columns, 19);
  const OwnedPacked packed = pack_all(source.view());
  if (!kernels().has_decode_bf16(packed.matrix.format)) GTEST_SKIP() << "no such kernel here";
  if (packed.matrix.format.codes == CodeKind::kF16) GTEST_SKIP() << "the weights are rounded";
  const std::vector<float> x = byte_activations(columns, 20);
  EXPECT_LT(
      relative_rms(reference(source.view(), x, 1), decode_bf16(packed.matrix, x, 1), rows + 3),
      2e-6);
}

TEST_P(Matmul, PrefillInFloatHasTheBitsOfDecodeInFloat) {
  const int64_t columns = column_counts().back(), rows = 47;
  const TestMatrix source(GetParam().format, rows, columns, 7);
  const OwnedPacked packed = pack_all(source.view());
  const int64_t x_rows = 29;
  const std::vector<float> x = random_activations(x_rows * columns, 8);
  const std::vector<float> all = prefill(kernels().prefill_f32, packed.matrix, x, x_rows);
  for (int64_t m = 0; m < x_rows; ++m) {
    const std::vector<float> one(x.begin() + m * columns, x.begin() + (m + 1) * columns);
    const std::vector<float> alone = decode_f32(packed.matrix, one, 1);
    const std::vector<float> together(all.begin() + m * (rows + 3),
                                      all.begin() + (m + 1) * (rows + 3));
    ASSERT_EQ(together, alone) << m;
  }
}

TEST_P(Matmul, FastPrefillIsAsCloseAsBf16Allows) {
  for (const int64_t columns : column_counts()) {
    for (const int64_t rows : kRows) {
      const TestMatrix source(GetParam().format, rows, columns, 9);
      const OwnedPacked packed = pack_all(source.view());
      for (const int64_t x_rows : {1, 13, 50}) {
        const std::vector<float> x = random_activations(x_rows * columns, 10);
        const Reference expected = reference(source.view(), x, x_rows);
        const std::vector<float> y = prefill(kernels().prefill_fast, packed.matrix, x, x_rows);
        EXPECT_LT(relative_rms(expected, y, rows + 3), tolerance(3.5e-3, columns))
            << rows << " x " << columns << ", " << x_rows;
      }
    }
  }
}

TEST_P(Matmul, PrefillInBytesIsAsCloseAsEightBitActivationsAllow) {
  if (!kernels().has_prefill_i8(packed_format(TestMatrix(GetParam().format, 1, 128, 1).view()))) {
    GTEST_SKIP() << "no such kernel here";
  }
  for (const int64_t columns : column_counts()) {
    for (const int64_t rows : kRows) {
      const TestMatrix source(GetParam().format, rows, columns, 13);
      const OwnedPacked packed = pack_all(source.view());
      for (const int64_t x_rows : {1, 13, 50}) {
        const std::vector<float> x = random_activations(x_rows * columns, 14);
        const Reference expected = reference(source.view(), x, x_rows);
        const std::vector<float> y = prefill(kernels().prefill_i8, packed.matrix, x, x_rows);
        EXPECT_LT(relative_rms(expected, y, rows + 3), tolerance(1e-2, columns))
            << rows << " x " << columns << ", " << x_rows;
      }
    }
  }
}

TEST_P(Matmul, PrefillInBytesIsExactWhenActivationsAreBytes) {
  const int64_t columns = column_counts().back(), rows = 33;
  const TestMatrix source(GetParam().format, rows, columns, 15);
  const OwnedPacked packed = pack_all(source.view());
  if (!kernels().has_prefill_i8(packed.matrix.format)) GTEST_SKIP() << "no such kernel here";
  const std::vector<float> x = byte_activations(columns, 16);
  const std::vector<float> y = prefill(kernels().prefill_i8, packed.matrix, x, 1);
  EXPECT_LT(relative_rms(reference(source.view(), x, 1), y, rows + 3), 2e-6);
}

TEST_P(Matmul, ARowOfActivationsDoesNotFeelItsNeighbours) {
  const int64_t columns = column_counts().back(), rows = 20;
  const TestMatrix source(GetParam().format, rows, columns, 11);
  const OwnedPacked packed = pack_all(source.view());
  const std::vector<float> x = random_activations(6 * columns, 12);
  const std::vector<float> last(x.end() - columns, x.end());
  const bool bytes = kernels().has_decode_i8(packed.matrix.format);
  const std::vector<float> together =
      bytes ? decode_i8(packed.matrix, x, 6) : decode_f32(packed.matrix, x, 6);
  const std::vector<float> alone =
      bytes ? decode_i8(packed.matrix, last, 1) : decode_f32(packed.matrix, last, 1);
  EXPECT_TRUE(std::equal(alone.begin(), alone.end(), together.end() - (rows + 3)));
}

INSTANTIATE_TEST_SUITE_P(All, Matmul, testing::ValuesIn(cases()),
                         [](const auto& test) { return test.param.name(); });

class QuantizedActivations : public testing::TestWithParam<const Kernels*> {};

TEST_P(QuantizedActivations, RoundToTheNearestOf255Steps) {
  const int64_t columns = 77;
  const std::vector<float> x = random_activations(columns, 1);
  std::vector<QuantizedGroup> groups(3);
  GetParam()->matmul.quantize_activation(x.data(), columns, 1, groups.data());
  for (int64_t k = 0; k < columns; ++k) {
    const QuantizedGroup& group = groups[k / 32];
    EXPECT_NEAR(x[k], group.scale * static_cast<float>(group.codes[k % 32]), group.scale * 0.501f)
        << k;
  }
  for (int64_t k = columns; k < 96; ++k) EXPECT_EQ(groups[2].codes[k % 32], 0);
  for (const QuantizedGroup& group : groups) {
    const auto middle = std::begin(group.codes) + 16;
    EXPECT_EQ(group.code_sums[0], std::accumulate(std::begin(group.codes), middle, 0));
    EXPECT_EQ(group.code_sums[1], std::accumulate(middle, std::end(group.codes), 0));
    EXPECT_FLOAT_EQ(group.sum,
                    group.scale * static_cast<float>(group.code_sums[0] + group.code_sums[1]));
  }
}

TEST_P(QuantizedActivations, ZerosStayZeros) {
  const std::vector<float> x(32, 0.0f);
  QuantizedGroup group;
  GetParam()->matmul.quantize_activation(x.data(), 32, 1, &group);
  EXPECT_EQ(group.scale, 0.0f);
  EXPECT_EQ(group.sum, 0.0f);
  EXPECT_TRUE(std::all_of(std::begin(group.codes), std::end(group.codes),
                          [](int8_t code) { return code == 0; }));
}

INSTANTIATE_TEST_SUITE_P(All, QuantizedActivations,
                         testing::ValuesIn(available_kernels().begin(), available_kernels().end()),
                         [](const auto& test) { return std::string(test.param->name); });

}  // namespace
}  // namespace cohort::kernels
