// What every backend must compute, against the plainest code that says the same. Parameterised over backends and the
// ways each of them can run; sizes are odd on purpose.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/mlx/mlx_backend.h"
#include "backend/testing/backends.h"
#include "backend/testing/lazy_backend.h"
#include "backend/testing/reference.h"

namespace cohort::backend {
namespace {

using testing::dot;
using testing::expert_weights;
using testing::Values;

// ---- which backends ----

struct Variant {
  std::string name;
  std::function<std::unique_ptr<Backend>()> make;
  float product_tolerance;  // of products with weights, relative to the greatest result
  // A row's results have the same bits whatever rows are beside it, and however its sequence was cut into steps.
  bool same_bits = true;
  // But for few rows over a q8 cache, which are rounded to 8 bits where many are not.
  bool few_rows_over_q8_differ = false;
  // And for many rows over a cache that is rounded already, which are rounded to bf16 where few are not.
  bool many_rows_take_bf16 = false;

  friend void PrintTo(const Variant& variant, std::ostream* out) { *out << variant.name; }
};

Variant cpu_variant(const CpuOptions& options) {
  const bool fast = options.math == Math::kFast;
  const bool bf16 = fast && (options.kernels == "amx" || options.kernels == "avx512_bf16");
  return {"cpu_" + options.kernels + (fast ? "_fast_" : "_f32_") + std::to_string(options.threads) +
              "threads",
          [options] { return make_cpu_backend(options); },
          fast ? 3e-2f : 1e-5f,
          true,
          fast,
          bf16};
}

std::vector<Variant> variants() {
  std::vector<Variant> all;
  for (const std::string& kernels : cpu_kernel_names()) {
    all.push_back(cpu_variant({.threads = 1, .math = Math::kF32, .kernels = kernels}));
    all.push_back(cpu_variant({.threads = 2, .math = Math::kFast, .kernels = kernels}));
    all.push_back(cpu_variant({.threads = 3, .math = Math::kF32, .kernels = kernels}));
  }
  all.push_back({"lazy", testing::make_lazy_backend, 1e-5f});
  if (testing::has_mlx()) {
    all.push_back({"mlx", [] { return make_mlx_backend({.math = Math::kF32}).value(); }, 1e-5f,
                   /*same_bits=*/false});
  }
  return all;
}

// ---- inputs ----

class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  float value() { return normal_(engine_); }
  uint32_t bits() { return static_cast<uint32_t>(engine_()); }
  Values values(int64_t count) {
    Values all(static_cast<size_t>(count));
    for (float& one : all) one = value();
    return all;
  }

 private:
  std::mt19937 engine_;
  std::normal_distribution<float> normal_;
};

// A matrix that a test owns: the view of it that a backend loads, and its values.
class TestMatrix {
 public:
  TestMatrix(Random& random, int64_t rows, int64_t columns, QuantFormat format = {},
             int64_t experts = 0)
      : view_{.format = format, .experts = experts, .rows = rows, .columns = columns} {
    const int64_t all_rows = std::max<int64_t>(experts, 1) * rows;
    format.mode == QuantMode::kNone ? fill_plain(random, all_rows)
                                    : fill_quantized(random, all_rows);
    dense_.resize(static_cast<size_t>(all_rows * columns));
    for (int64_t r = 0; r < all_rows; ++r) {
      dequantize_row(view_, r / rows, r % rows, dense_.data() + r * columns);
    }
  }

  MatrixPart part(RowRange rows = {}, RowRange columns = {}) const {
    return {view_, rows, columns};
  }
  const float* row(int64_t r, int64_t expert = 0) const {
    return dense_.data() + (expert * view_.rows + r) * view_.columns;
  }
  int64_t rows() const { return view_.rows; }
  int64_t columns() const { return view_.columns; }

 private:
  void fill_plain(Random& random, int64_t all_rows) {
    const Values values = random.values(all_rows * view_.columns);
    weight_.resize(values.size() * sizeof(float));
    std::memcpy(weight_.data(), values.data(), weight_.size());
    view_.weight = {weight_.data(), DType::kF32, {all_rows, view_.columns}};
  }

  void fill_quantized(Random& random, int64_t all_rows) {
    const int64_t groups = all_rows * view_.columns / view_.format.group_size;
    weight_.resize(static_cast<size_t>(all_rows * view_.columns * view_.format.bits / 8));
    for (std::byte& byte : weight_)
      byte = static_cast<std::byte>(random.bits() & 0x77);  // no NaN of fp8
    view_.weight = {
        weight_.data(), DType::kU32, {all_rows, view_.columns * view_.format.bits / 32}};
    if (view_.format.mode == QuantMode::kAffine) {
      fill_floats(random, groups, scales_, view_.scales);
      fill_floats(random, groups, biases_, view_.biases);
      return;
    }
    const uint32_t first =
        view_.format.mode == QuantMode::kNvfp4 ? 0x30 : 124;  // of exponents near 1
    for (int64_t g = 0; g < groups; ++g)
      scales_.push_back(static_cast<std::byte>(first + random.bits() % 4));
    view_.scales = {scales_.data(), DType::kU8, {groups}};
  }

  static void fill_floats(Random& random, int64_t count, std::vector<std::byte>& bytes,
                          TensorView& view) {
    const Values values = random.values(count);
    bytes.resize(values.size() * sizeof(float));
    std::memcpy(bytes.data(), values.data(), bytes.size());
    view = {bytes.data(), DType::kF32, {count}};
  }

  MatrixView view_;
  std::vector<std::byte> weight_, scales_, biases_;
  Values dense_;
};

Values slice(const Values& all, int64_t first_row, int64_t rows, int64_t columns) {
  return {all.begin() + first_row * columns, all.begin() + (first_row + rows) * columns};
}

constexpr Activation kActivations[] = {Activation::kSilu, Activation::kGeluTanh, Activation::kRelu2,
                                       Activation::kGptOss};

StepPlan plan_of(int32_t rows, int32_t first_position = 0, std::vector<int32_t> pages = {}) {
  StepPlan plan;
  plan.tokens.assign(static_cast<size_t>(rows), 0);
  plan.runs = {
      {.first_row = 0, .rows = rows, .first_position = first_position, .pages = std::move(pages)}};
  return plan;
}

class Ops : public ::testing::TestWithParam<Variant> {
 protected:
  std::unique_ptr<Backend> backend_ = GetParam().make();
  Random random_{7};
  StepPlan plan_;

  void begin(int32_t rows, int32_t first_position = 0) {
    plan_ = plan_of(rows, first_position);
    backend_->begin_step(plan_);
  }
  Tensor input(const Values& values, int64_t columns) {
    return backend_->input(values, static_cast<int32_t>(columns));
  }
  Values read(Tensor x) {
    Values out(static_cast<size_t>(x.rows) * x.columns);
    EXPECT_TRUE(backend_->read(x, out).has_value());
    return out;
  }
  Matrix load(const TestMatrix& matrix, const Values& bias = {}) {
    const MatrixPart part = matrix.part();
    return *backend_->load_matrix({&part, 1}, bias);
  }
};

void expect_near(const Values& got, const Values& wanted, float tolerance) {
  ASSERT_EQ(got.size(), wanted.size());
  float most = 1.0f;
  for (float value : wanted) most = std::max(most, std::abs(value));
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_NEAR(got[i], wanted[i], tolerance * most) << "at " << i << " of " << got.size();
  }
}

constexpr float kExact = 2e-6f;

void expect_same(const Values& got, const Values& wanted, const Variant& variant, float tolerance) {
  if (variant.same_bits) {
    EXPECT_EQ(got, wanted);
  } else {
    expect_near(got, wanted, tolerance);
  }
}

// ---- activations and handles ----

TEST_P(Ops, ReadGivesWhatInputTook) {
  const Values x = random_.values(5 * 33);
  begin(5);
  EXPECT_EQ(read(input(x, 33)), x);
}

TEST_P(Ops, ASliceIsARangeOfColumns) {
  begin(2);
  const Tensor x = input({1, 2, 3, 4, 5, 6}, 3);
  EXPECT_EQ(read(x.slice(1, 2)), (Values{2, 3, 5, 6}));
}

TEST_P(Ops, ScopesDropWhatWasMadeInThemAndKeepChangesToTheRest) {
  begin(1);
  Tensor sum = input({1, 2}, 2);
  for (int i = 0; i < 3; ++i) {
    Scope scope(*backend_);
    const Tensor inner = input({10, 20}, 2);
    backend_->add(sum, inner);
  }
  const Tensor after = input({5, 6}, 2);
  EXPECT_EQ(read(sum), (Values{31, 62}));
  EXPECT_EQ(read(after), (Values{5, 6}));
}

TEST_P(Ops, StepsOfTheSameShapeNeedNoMoreMemoryThanTheFirst) {
  const TestMatrix matrix(random_, 300, 200);
  const Matrix w = load(matrix);
  const Values x = random_.values(40 * 200);
  uint64_t scratch_bytes = 0;
  for (int step = 0; step < 5; ++step) {
    begin(40);
    const Tensor y = backend_->linear(w, input(x, 200));
    read(backend_->rms_norm(y, {}, 1e-5f));
    if (step == 0) scratch_bytes = backend_->info().scratch_bytes;
    EXPECT_EQ(backend_->info().scratch_bytes, scratch_bytes);
  }
}

TEST_P(Ops, AddAndScaleWorkInPlaceAndOnSlices) {
  begin(2);
  Tensor x = input({1, 2, 3, 4, 5, 6}, 3);
  Tensor part = x.slice(1, 2);
  backend_->add(part, input({10, 20, 30, 40}, 2));
  Tensor first = x.slice(0, 1);
  backend_->scale(first, 2.0f);
  EXPECT_EQ(read(x), (Values{2, 12, 23, 8, 35, 46}));
}

TEST_P(Ops, TakeRowsCopiesThemInTheOrderAsked) {
  begin(3);
  const std::vector<int32_t> rows = {2, 0, 2};
  EXPECT_EQ(read(backend_->take_rows(input({1, 2, 3, 4, 5, 6}, 2), rows)),
            (Values{5, 6, 1, 2, 5, 6}));
}

TEST_P(Ops, ConcatPutsTheHeadsOfAllPartsSideBySide) {
  begin(2);
  const Tensor a = input({1, 2, 3, 4, 11, 12, 13, 14}, 4), b = input({5, 6, 15, 16}, 2);
  const std::vector<Tensor> parts = {a, b};
  EXPECT_EQ(read(backend_->concat(parts, 2)), (Values{1, 2, 5, 3, 4, 6, 11, 12, 15, 13, 14, 16}));
  EXPECT_EQ(read(backend_->concat(parts, 1)), (Values{1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16}));
}

TEST_P(Ops, EmbedWidensTheRowsOfTheTokensAndScalesThem) {
  const TestMatrix table(random_, 9, 64, {QuantMode::kAffine, 4, 32});
  const Matrix m = *backend_->load_embedding(table.part());
  plan_ = plan_of(3);
  plan_.tokens = {8, 0, 8};
  backend_->begin_step(plan_);
  Values wanted;
  for (int32_t token : plan_.tokens) {
    for (int c = 0; c < 64; ++c) wanted.push_back(table.row(token)[c] * 3.0f);
  }
  EXPECT_EQ(read(backend_->embed(m, 3.0f)), wanted);
}

TEST_P(Ops, EmbedGivesZerosForTokensOfOtherRanks) {
  const TestMatrix table(random_, 9, 8);
  const Matrix m = *backend_->load_embedding(table.part({3, 4}));
  plan_ = plan_of(2);
  plan_.tokens = {2, 6};
  backend_->begin_step(plan_);
  Values wanted(8, 0.0f);
  wanted.insert(wanted.end(), table.row(6), table.row(6) + 8);
  EXPECT_EQ(read(backend_->embed(m)), wanted);
}

// ---- products ----

Values plain_product(const std::vector<const float*>& rows, const Values& bias, const Values& x,
                     int64_t columns) {
  Values y;
  for (size_t r = 0; r < x.size() / columns; ++r) {
    for (size_t i = 0; i < rows.size(); ++i) {
      y.push_back(static_cast<float>(dot(rows[i], &x[r * columns], columns) +
                                     (bias.empty() ? 0 : bias[i])));
    }
  }
  return y;
}

std::vector<const float*> all_rows(const TestMatrix& matrix, int64_t expert = 0) {
  std::vector<const float*> rows;
  for (int64_t r = 0; r < matrix.rows(); ++r) rows.push_back(matrix.row(r, expert));
  return rows;
}

TEST_P(Ops, LinearMultipliesWithMatricesOfEveryFormat) {
  using enum QuantMode;
  const QuantFormat formats[] = {{},
                                 {kAffine, 2, 32},
                                 {kAffine, 3, 64},
                                 {kAffine, 4, 64},
                                 {kAffine, 5, 64},
                                 {kAffine, 6, 64},
                                 {kAffine, 8, 64},
                                 {kMxfp4, 4, 32},
                                 {kNvfp4, 4, 16},
                                 {kMxfp8, 8, 32}};
  for (const QuantFormat& format : formats) {
    SCOPED_TRACE(std::string(quant_mode_name(format.mode)) + std::to_string(format.bits));
    const TestMatrix matrix(random_, 37, 192, format);
    const Matrix w = load(matrix);
    for (int rows : {1, 2, 7, 8, 9, 33}) {
      const Values x = random_.values(rows * 192);
      begin(rows);
      expect_near(read(backend_->linear(w, input(x, 192))),
                  plain_product(all_rows(matrix), {}, x, 192), GetParam().product_tolerance);
    }
  }
}

TEST_P(Ops, LinearTakesStackedPartsOfDifferentFormatsAndAddsTheBias) {
  const TestMatrix a(random_, 21, 64, {QuantMode::kAffine, 4, 32}), b(random_, 3, 64);
  const Values bias = random_.values(24);
  const std::vector<MatrixPart> parts = {a.part(), b.part()};
  const Matrix w = *backend_->load_matrix(parts, bias);
  ASSERT_EQ(w.rows, 24);
  ASSERT_EQ(w.columns, 64);
  std::vector<const float*> rows = all_rows(a);
  for (const float* row : all_rows(b)) rows.push_back(row);
  for (int count : {1, 12}) {
    const Values x = random_.values(count * 64);
    begin(count);
    expect_near(read(backend_->linear(w, input(x, 64))), plain_product(rows, bias, x, 64),
                GetParam().product_tolerance);
  }
}

TEST_P(Ops, LinearReadsASliceAndARangeOfTheMatrix) {
  const TestMatrix matrix(random_, 40, 128, {QuantMode::kAffine, 8, 32});
  const MatrixPart part = matrix.part({5, 30}, {32, 64});
  const Matrix w = *backend_->load_matrix({&part, 1});
  ASSERT_EQ(w.rows, 30);
  ASSERT_EQ(w.columns, 64);
  std::vector<const float*> rows;
  for (int r = 5; r < 35; ++r) rows.push_back(matrix.row(r) + 32);
  const Values x = random_.values(3 * 80);
  begin(3);
  Values kept;
  for (int r = 0; r < 3; ++r) kept.insert(kept.end(), &x[r * 80 + 16], &x[r * 80 + 80]);
  expect_near(read(backend_->linear(w, input(x, 80).slice(16, 64))),
              plain_product(rows, {}, kept, 64), GetParam().product_tolerance);
}

TEST_P(Ops, HeadLinearMultipliesEachHeadWithItsOwnMatrix) {
  constexpr int kHeads = 3;
  const TestMatrix matrix(random_, 21, 10, {}, kHeads);
  const Matrix w = *backend_->load_head_matrices(matrix.part());
  for (int rows : {1, 11}) {
    const Values x = random_.values(rows * kHeads * 10);
    begin(rows);
    Values wanted;
    for (int r = 0; r < rows; ++r) {
      for (int h = 0; h < kHeads; ++h) {
        const Values head =
            plain_product(all_rows(matrix, h), {}, slice(x, r * kHeads + h, 1, 10), 10);
        wanted.insert(wanted.end(), head.begin(), head.end());
      }
    }
    expect_near(read(backend_->head_linear(w, input(x, kHeads * 10))), wanted,
                GetParam().product_tolerance);
  }
}

Values plain_gated(const std::vector<const float*>& gate, const std::vector<const float*>& up,
                   const Values& gate_bias, const Values& up_bias, const Values& x, int64_t columns,
                   Activation activation) {
  const Values g = plain_product(gate, gate_bias, x, columns),
               u = plain_product(up, up_bias, x, columns);
  Values y;
  for (size_t i = 0; i < g.size(); ++i)
    y.push_back(static_cast<float>(testing::gate(activation, g[i], u[i])));
  return y;
}

TEST_P(Ops, GatedLinearAppliesTheActivationToItsHalves) {
  for (const int half : {16, 23, 48}) {
    const TestMatrix gate(random_, half, 50), up(random_, half, 50), both(random_, 2 * half, 50);
    const std::vector<MatrixPart> parts = {gate.part(), up.part()};
    const Values bias = random_.values(2 * half);
    const Matrix two = *backend_->load_matrix(parts, bias);
    const Matrix pair = *backend_->load_gate_up(gate.part(), up.part(), bias);
    const Matrix one = load(both);
    std::vector<const float*> first = all_rows(both), second(first.begin() + half, first.end());
    first.resize(half);
    for (Activation activation : kActivations) {
      for (int rows : {1, 13}) {
        Values x = random_.values(rows * 50);
        for (float& value : x) value *= 0.2f;
        begin(rows);
        for (const Matrix& gate_up : {two, pair}) {
          expect_near(read(backend_->gated_linear(gate_up, input(x, 50), activation)),
                      plain_gated(all_rows(gate), all_rows(up), slice(bias, 0, half, 1),
                                  slice(bias, half, half, 1), x, 50, activation),
                      2 * GetParam().product_tolerance);
        }
        expect_near(read(backend_->gated_linear(one, input(x, 50), activation)),
                    plain_gated(first, second, {}, {}, x, 50, activation),
                    2 * GetParam().product_tolerance);
      }
    }
  }
}

TEST_P(Ops, ARowsProductDoesNotDependOnTheRowsBesideIt) {
  if (GetParam().product_tolerance > 1e-4f || !GetParam().same_bits)
    GTEST_SKIP() << "not promised by this backend, or only in full precision";
  const TestMatrix matrix(random_, 70, 128, {QuantMode::kAffine, 4, 64});
  const Matrix w = load(matrix);
  const Values x = random_.values(21 * 128);
  begin(21);
  const Values together = read(backend_->linear(w, input(x, 128)));
  for (int r = 0; r < 21; ++r) {
    begin(1);
    EXPECT_EQ(read(backend_->linear(w, input(slice(x, r, 1, 128), 128))),
              slice(together, r, 1, 70));
  }
}

// ---- norms, rope ----

TEST_P(Ops, RmsNormDividesByTheRootMeanSquareOfEachGroup) {
  const Values weight = random_.values(11);
  const Vector w = *backend_->load_vector(weight);
  const Values x = random_.values(3 * 33);
  begin(3);
  for (const bool weighted : {true, false}) {
    Values wanted;
    for (int group = 0; group < 9; ++group) {
      const float* values = &x[group * 11];
      const double root = std::sqrt(dot(values, values, 11) / 11 + 1e-3);
      for (int i = 0; i < 11; ++i)
        wanted.push_back(static_cast<float>(values[i] / root * (weighted ? weight[i] : 1)));
    }
    expect_near(read(backend_->rms_norm(input(x, 33), weighted ? w : Vector{}, 1e-3f, 11)), wanted,
                kExact);
  }
  const Values one_row = random_.values(11);
  const double root = std::sqrt(dot(one_row.data(), one_row.data(), 11) / 11 + 1e-3);
  Values wanted;
  for (int i = 0; i < 11; ++i) wanted.push_back(static_cast<float>(one_row[i] / root * weight[i]));
  begin(1);
  expect_near(read(backend_->rms_norm(input(one_row, 11), w, 1e-3f)), wanted, kExact);
}

TEST_P(Ops, RopeRotatesItsDimsOfEachHeadByThePosition) {
  constexpr int kHeads = 3, kHeadDim = 47, kDims = 38, kRows = 5, kFirst = 1000;
  Values frequencies;
  for (int i = 0; i < kDims / 2; ++i) frequencies.push_back(std::pow(10000.0f, -2.0f * i / kDims));
  frequencies.back() = 0;
  for (const bool traditional : {false, true}) {
    for (const int skip : {0, 9}) {
      const Rope rope = backend_->make_rope({.dims = kDims,
                                             .traditional = traditional,
                                             .inverse_frequencies = frequencies,
                                             .scale = 1.25f});
      const Values x = random_.values(kRows * kHeads * kHeadDim);
      Values wanted = x;
      for (int head = 0; head < kRows * kHeads; ++head) {
        const int position = kFirst + head / kHeads;
        for (int i = 0; i < kDims / 2; ++i) {
          const int base = head * kHeadDim + skip;
          const int a = base + (traditional ? 2 * i : i),
                    b = base + (traditional ? 2 * i + 1 : i + kDims / 2);
          const double angle = static_cast<float>(position) * frequencies[i];
          wanted[a] = static_cast<float>(1.25 * (x[a] * std::cos(angle) - x[b] * std::sin(angle)));
          wanted[b] = static_cast<float>(1.25 * (x[b] * std::cos(angle) + x[a] * std::sin(angle)));
        }
      }
      begin(kRows, kFirst);
      Tensor tensor = input(x, kHeads * kHeadDim);
      backend_->rope(tensor, rope, kHeadDim, skip);
      expect_near(read(tensor), wanted, kExact);
    }
  }
}

TEST_P(Ops, ScaleByPositionGrowsWithTheLogarithmOfTheSpan) {
  begin(3, 15);  // positions 15, 16, 17
  Tensor x = input({1, 1, 1}, 1);
  backend_->scale_by_position(x, 0.5f, 8);
  expect_near(read(x),
              {1 + 0.5f * std::log(2.0f), 1 + 0.5f * std::log(3.0f), 1 + 0.5f * std::log(3.0f)},
              kExact);
}

// ---- mixtures ----

struct MixtureCase {
  std::string name;
  RouterSpec router;
  bool choice_bias = false;
  Activation activation = Activation::kSilu;
  bool biases = false;
  QuantFormat format = {};
  std::optional<QuantFormat> up_format = {};  // unless it is the same
};

constexpr int kExperts = 12, kWidth = 64, kHidden = 32;

TEST_P(Ops, ExpertsGiveTheWeightedSumOfTheChosen) {
  const MixtureCase cases[] = {
      {"qwen3_moe", {.scoring = Scoring::kSoftmax, .top_k = 3}},
      {"not normalised", {.scoring = Scoring::kSoftmax, .top_k = 3, .normalize = false}},
      {"gpt_oss",
       {.scoring = Scoring::kSoftmaxOfChosen, .top_k = 4},
       false,
       Activation::kGptOss,
       true,
       {QuantMode::kMxfp4, 4, 32}},
      {"deepseek",
       {.scoring = Scoring::kGroupedSigmoid,
        .top_k = 5,
        .scale = 2.5f,
        .groups = 4,
        .top_groups = 2},
       true},
      {"one of them", {.scoring = Scoring::kGroupedSigmoid, .top_k = 1, .scale = 2.5f}, true},
      {"all, quantised",
       {.scoring = Scoring::kSoftmax, .top_k = kExperts},
       false,
       Activation::kSilu,
       false,
       {QuantMode::kAffine, 4, 32}},
      {"gate and up in formats of their own",
       {.scoring = Scoring::kSoftmax, .top_k = 3},
       false,
       Activation::kSilu,
       true,
       {QuantMode::kAffine, 8, 32},
       QuantFormat{}},
  };
  for (const MixtureCase& c : cases) {
    SCOPED_TRACE(c.name);
    const TestMatrix router(random_, kExperts, kWidth);
    const TestMatrix gate(random_, kHidden, kWidth, c.format, kExperts),
        up(random_, kHidden, kWidth, c.up_format.value_or(c.format), kExperts);
    const TestMatrix down(random_, kWidth, kHidden, c.format, kExperts);
    ExpertParts parts{
        .gate = gate.part(), .up = up.part(), .down = down.part(), .activation = c.activation};
    if (c.biases) {
      parts.gate_bias = random_.values(kExperts * kHidden);
      parts.up_bias = random_.values(kExperts * kHidden);
      parts.down_bias = random_.values(kExperts * kWidth);
    }
    const ExpertBank bank = *backend_->load_experts(parts);
    parts.experts = {2, 7};
    const ExpertBank some = *backend_->load_experts(parts);
    const Matrix router_matrix = load(router);
    const Values choice_bias = c.choice_bias ? random_.values(kExperts) : Values();
    const Vector bias = c.choice_bias ? *backend_->load_vector(choice_bias) : Vector{};
    for (const int rows : {1, 3, 40}) {
      Values x = random_.values(rows * kWidth);
      for (float& value : x) value *= 0.1f;
      const Values logits = plain_product(all_rows(router), {}, x, kWidth);
      Values wanted(x.size()), wanted_of_some(x.size());
      for (int r = 0; r < rows; ++r) {
        const Values weights = expert_weights(c.router, slice(logits, r, 1, kExperts), choice_bias);
        for (int e = 0; e < kExperts; ++e) {
          if (weights[e] == 0) continue;
          const Values no_bias;
          const auto bias_of = [&](const Values& all, int size) {
            return c.biases ? slice(all, e, 1, size) : no_bias;
          };
          const Values hidden = plain_gated(
              all_rows(gate, e), all_rows(up, e), bias_of(parts.gate_bias, kHidden),
              bias_of(parts.up_bias, kHidden), slice(x, r, 1, kWidth), kWidth, c.activation);
          const Values out =
              plain_product(all_rows(down, e), bias_of(parts.down_bias, kWidth), hidden, kHidden);
          for (int i = 0; i < kWidth; ++i) {
            wanted[r * kWidth + i] += weights[e] * out[i];
            if (e >= 2 && e < 9) wanted_of_some[r * kWidth + i] += weights[e] * out[i];
          }
        }
      }
      begin(rows);
      const Tensor in = input(x, kWidth);
      const Routing routing = backend_->route(router_matrix, in, c.router, bias);
      expect_near(read(backend_->experts(bank, in, routing)), wanted,
                  2 * GetParam().product_tolerance);
      expect_near(read(backend_->experts(some, in, routing)), wanted_of_some,
                  2 * GetParam().product_tolerance);
    }
  }
}

// ---- attention ----

struct AttentionCase {
  std::string name;
  int heads, kv_heads, key_dim, value_dim, value_prefix = 0, window = 0;
  bool sinks = false;
  KvType type = KvType::kF32;

  int value_columns() const { return value_dim > 0 ? value_dim : value_prefix; }
  KvSpec kv() const {
    const KvLayerSpec layer{kv_heads, key_dim, value_dim, value_prefix};
    return {.layers = {layer, layer}, .type = type};
  }
  float tolerance() const {
    return type == KvType::kF32    ? 1e-5f
           : type == KvType::kF16  ? 1e-3f
           : type == KvType::kBF16 ? 8e-3f
                                   : 1.5e-2f;
  }
};

const AttentionCase kAttentionCases[] = {
    {"one head", 1, 1, 5, 5},
    {"grouped", 6, 2, 24, 17},
    {"window", 4, 4, 16, 16, 0, 19},
    {"sinks", 9, 3, 40, 33, 0, 0, true},
    {"latent", 20, 1, 72, 0, 50},
    {"many heads", 70, 1, 8, 8},
    {"f16", 4, 2, 33, 47, 0, 0, false, KvType::kF16},
    {"bf16", 4, 2, 33, 47, 0, 0, false, KvType::kBF16},
    {"q8", 4, 2, 33, 47, 0, 0, false, KvType::kQ8},
    {"q8 latent", 4, 1, 72, 0, 64, 0, false, KvType::kQ8},
};

// What one sequence attends with: a row a position.
struct AttentionInput {
  Values q, k, v;

  AttentionInput(Random& random, const AttentionCase& c, int positions)
      : q(random.values(int64_t{positions} * c.heads * c.key_dim)),
        k(random.values(int64_t{positions} * c.kv_heads * c.key_dim)),
        v(random.values(int64_t{positions} * c.kv_heads * c.value_dim)) {}
};

Values plain_attention(const AttentionCase& c, int positions, const AttentionInput& in,
                       const Values& sinks, float scale) {
  const int dv = c.value_columns();
  Values out(static_cast<size_t>(positions) * c.heads * dv);
  for (int p = 0; p < positions; ++p) {
    for (int h = 0; h < c.heads; ++h) {
      const int g = h / (c.heads / c.kv_heads);
      const auto key = [&](int t) { return &in.k[(t * c.kv_heads + g) * c.key_dim]; };
      const int first = c.window > 0 ? std::max(0, p - c.window + 1) : 0;
      std::vector<double> weights;
      double sum = c.sinks ? std::exp(double{sinks[h]}) : 0;
      for (int t = first; t <= p; ++t) {
        weights.push_back(
            std::exp(dot(&in.q[(p * c.heads + h) * c.key_dim], key(t), c.key_dim) * scale));
        sum += weights.back();
      }
      for (int t = first; t <= p; ++t) {
        const float* value = c.value_dim > 0 ? &in.v[(t * c.kv_heads + g) * dv] : key(t);
        for (int d = 0; d < dv; ++d) {
          out[(p * c.heads + h) * dv + d] +=
              static_cast<float>(weights[t - first] / sum * value[d]);
        }
      }
    }
  }
  return out;
}

class Attention {
 public:
  Attention(const Variant& variant, const AttentionCase& c, int32_t pages, const Values& sinks = {})
      : backend_(variant.make()),
        case_(c),
        spec_{.heads = c.heads, .layer = 1, .scale = scale(c), .window = c.window} {
    if (c.sinks) spec_.sinks = *backend_->load_vector(sinks);
    EXPECT_TRUE(backend_->create_kv(c.kv(), pages).has_value());
  }
  static float scale(const AttentionCase& c) {
    return 1.0f / std::sqrt(static_cast<float>(c.key_dim));
  }

  // `rows_of[i]` are the inputs of the plan's run i.
  Values step(const StepPlan& plan, const std::vector<const AttentionInput*>& inputs) {
    backend_->begin_step(plan);
    Values q, k, v;
    for (size_t i = 0; i < plan.runs.size(); ++i) {
      const SequenceRun& run = plan.runs[i];
      const auto append = [&](Values& to, const Values& all, int columns) {
        const Values rows = slice(all, run.first_position, run.rows, columns);
        to.insert(to.end(), rows.begin(), rows.end());
      };
      append(q, inputs[i]->q, case_.heads * case_.key_dim);
      append(k, inputs[i]->k, case_.kv_heads * case_.key_dim);
      append(v, inputs[i]->v, case_.kv_heads * case_.value_dim);
    }
    const Tensor value =
        case_.value_dim > 0 ? backend_->input(v, case_.kv_heads * case_.value_dim) : Tensor{};
    const Tensor out =
        backend_->attention(backend_->input(q, case_.heads * case_.key_dim),
                            backend_->input(k, case_.kv_heads * case_.key_dim), value, spec_);
    Values result(static_cast<size_t>(out.rows) * out.columns);
    EXPECT_TRUE(backend_->read(out, result).has_value());
    return result;
  }

  Values in_chunks(int positions, int chunk, const AttentionInput& in,
                   const std::vector<int32_t>& pages) {
    Values all;
    for (int p = 0; p < positions; p += chunk) {
      const Values part = step(plan_of(std::min(chunk, positions - p), p, pages), {&in});
      all.insert(all.end(), part.begin(), part.end());
    }
    return all;
  }
  Backend& backend() { return *backend_; }

 private:
  std::unique_ptr<Backend> backend_;
  const AttentionCase& case_;
  AttentionSpec spec_;
};

enum class Rounding : uint8_t { kNone, kBytes, kBf16 };

// What a backend does to queries and softmax weights of a chunk, and of the few rows that are left at its end.
Rounding rounding_of(const Variant& variant, const AttentionCase& c, int chunk) {
  constexpr int kFewRows = 8, kManyOfAHead = 16;
  if (variant.few_rows_over_q8_differ && c.type == KvType::kQ8 && c.value_dim > 0 &&
      chunk <= kFewRows) {
    return Rounding::kBytes;
  }
  const bool many = chunk * c.heads / c.kv_heads >= kManyOfAHead;
  return variant.many_rows_take_bf16 && c.type != KvType::kF32 && many ? Rounding::kBf16
                                                                       : Rounding::kNone;
}

TEST_P(Ops, AttentionOverPagesEqualsPlainAttentionHoweverItIsChunked) {
  constexpr int kPositions = 75;
  for (const AttentionCase& c : kAttentionCases) {
    SCOPED_TRACE(c.name);
    const AttentionInput in(random_, c, kPositions);
    const Values sinks = random_.values(c.heads);
    const Values wanted = plain_attention(c, kPositions, in, sinks, Attention::scale(c));
    std::map<Rounding, Values> alike;
    for (int chunk : {kPositions, 1, 7, 32}) {
      SCOPED_TRACE(chunk);
      Attention attention(GetParam(), c, 5, sinks);
      const Values got = attention.in_chunks(kPositions, chunk, in, {3, 0, 4});
      const Rounding rounding = rounding_of(GetParam(), c, chunk);
      expect_near(got, wanted,
                  rounding == Rounding::kBf16 ? std::max(c.tolerance(), 1e-2f) : c.tolerance());
      const Values& first = alike.try_emplace(rounding, got).first->second;
      expect_same(got, first, GetParam(), c.tolerance());
    }
  }
}

TEST_P(Ops, ALongContextIsSharedOutWithoutChangingABit) {
  const AttentionCase c = {"long", 3, 1, 16, 16};
  constexpr int kPositions = 1100;
  const AttentionInput in(random_, c, kPositions);
  std::vector<int32_t> pages(kPositions / kPageTokens + 1);
  std::iota(pages.begin(), pages.end(), 0);
  Attention attention(GetParam(), c, static_cast<int32_t>(pages.size()));
  const Values whole = attention.step(plan_of(kPositions, 0, pages), {&in});
  const Values wanted = plain_attention(c, kPositions, in, {}, Attention::scale(c));
  expect_near(whole, wanted, 1e-5f);
  for (int position : {511, 512, 1099}) {
    SCOPED_TRACE(position);
    expect_same(attention.step(plan_of(1, position, pages), {&in}), slice(whole, position, 1, 48),
                GetParam(), 1e-5f);
  }
}

TEST_P(Ops, SequencesOfOnePlanDoNotSeeEachOther) {
  const AttentionCase c = {"two", 4, 2, 12, 12};
  const AttentionInput a(random_, c, 40), b(random_, c, 40);
  Attention alone(GetParam(), c, 4);
  const Values of_a = alone.in_chunks(40, 40, a, {0, 1}), of_b = alone.in_chunks(40, 40, b, {2, 3});
  Attention together(GetParam(), c, 4);
  together.in_chunks(10, 10, a, {2, 1});
  together.in_chunks(39, 39, b, {3, 0});
  StepPlan plan;
  plan.tokens.assign(31, 0);
  plan.runs = {{.first_row = 0, .rows = 1, .first_position = 39, .pages = {3, 0}},
               {.first_row = 1, .rows = 30, .first_position = 10, .pages = {2, 1}}};
  const Values both = together.step(plan, {&b, &a});
  expect_same(slice(both, 0, 1, 48), slice(of_b, 39, 1, 48), GetParam(), 1e-5f);
  expect_same(slice(both, 1, 30, 48), slice(of_a, 10, 30, 48), GetParam(), 1e-5f);
}

TEST_P(Ops, SequencesThatDecodeTogetherAnswerAsEachAlone) {
  for (const AttentionCase& c : kAttentionCases) {
    SCOPED_TRACE(c.name);
    const AttentionInput a(random_, c, 70), b(random_, c, 5), d(random_, c, 33);
    const std::vector<int32_t> pages_of_a = {6, 1, 4}, pages_of_b = {3}, pages_of_d = {0, 5};
    const Values sinks = random_.values(c.heads);
    Attention attention(GetParam(), c, 7, sinks);
    attention.in_chunks(69, 69, a, pages_of_a);
    attention.in_chunks(4, 4, b, pages_of_b);
    attention.in_chunks(32, 32, d, pages_of_d);
    StepPlan plan{.tokens = {0, 0, 0}};
    plan.runs = {{.first_row = 0, .rows = 1, .first_position = 69, .pages = pages_of_a},
                 {.first_row = 1, .rows = 1, .first_position = 4, .pages = pages_of_b},
                 {.first_row = 2, .rows = 1, .first_position = 32, .pages = pages_of_d}};
    const Values all = attention.step(plan, {&a, &b, &d});
    const int columns = c.heads * c.value_columns();
    const auto last_of = [&](const AttentionInput& in, int positions) {
      return slice(plain_attention(c, positions, in, sinks, Attention::scale(c)), positions - 1, 1,
                   columns);
    };
    expect_near(slice(all, 0, 1, columns), last_of(a, 70), c.tolerance());
    expect_near(slice(all, 1, 1, columns), last_of(b, 5), c.tolerance());
    expect_near(slice(all, 2, 1, columns), last_of(d, 33), c.tolerance());
  }
}

TEST_P(Ops, ACopiedPageAnswersLikeTheOriginal) {
  for (const KvType type : {KvType::kF16, KvType::kQ8}) {
    const AttentionCase c = {"copy", 2, 1, 10, 7, 0, 0, false, type};
    const AttentionInput in(random_, c, 21);
    Attention attention(GetParam(), c, 2);
    attention.in_chunks(20, 20, in, {0});
    attention.backend().copy_kv_page(0, 1);
    const Values original = attention.step(plan_of(1, 20, {0}), {&in});
    EXPECT_EQ(attention.step(plan_of(1, 20, {1}), {&in}), original);
  }
}

// ---- what does not fit ----

TEST_P(Ops, AKvCacheLargerThanTheMachineIsRefusedWithTheBytesMissing) {
  const KvSpec spec{.layers = {{.kv_heads = 128, .key_dim = 256, .value_dim = 256}}};
  const Result<void> made = backend_->create_kv(spec, std::numeric_limits<int32_t>::max());
  ASSERT_FALSE(made.has_value());
  EXPECT_EQ(made.error().code, Code::kUnavailable);
  EXPECT_NE(made.error().message.find("missing"), std::string::npos) << made.error().message;
}

TEST(CpuBackend, KeepsToItsMemoryLimit) {
  Random random(1);
  const TestMatrix matrix(random, 512, 512);
  const MatrixPart part = matrix.part();
  const auto backend = make_cpu_backend({.threads = 1, .memory_limit_bytes = 3 << 20});
  ASSERT_TRUE(backend->load_matrix({&part, 1}).has_value());
  ASSERT_TRUE(backend->load_matrix({&part, 1}).has_value());
  const auto third = backend->load_matrix({&part, 1});
  ASSERT_TRUE(third.has_value());
  const auto fourth = backend->load_matrix({&part, 1});
  ASSERT_FALSE(fourth.has_value());
  EXPECT_EQ(fourth.error().code, Code::kUnavailable);
  EXPECT_EQ(backend->info().weight_bytes, 3u << 20);
}

TEST(KvPages, TakeWhatTheirTypeTakes) {
  const auto bytes = [](KvType type) {
    return kv_page_bytes(
        {.layers = {{.kv_heads = 2, .key_dim = 64, .value_dim = 64}}, .type = type});
  };
  EXPECT_EQ(bytes(KvType::kF32), kPageTokens * 2u * 128 * 4);
  EXPECT_EQ(bytes(KvType::kF16), kPageTokens * 2u * 128 * 2);
  EXPECT_EQ(bytes(KvType::kQ8), kPageTokens * 2u * (128 + 3 * 2));
  EXPECT_EQ(kv_page_bytes({.layers = {{.kv_heads = 1, .key_dim = 96, .value_prefix = 64}},
                           .type = KvType::kBF16}),
            kPageTokens * 96u * 2);
}

TEST(MlxBackend, IsPartOfThisSuite) {
  const auto device = mlx_device();
  if (!device) GTEST_SKIP() << "left out: " << device.error().message;
  EXPECT_FALSE(device->name.empty());
}

INSTANTIATE_TEST_SUITE_P(All, Ops, ::testing::ValuesIn(variants()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace cohort::backend
