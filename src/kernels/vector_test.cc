// Each kernel on each instruction set against the plainest code, over sizes around the width of a vector.
#include "kernels/vector.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/testing/under_test.h"
#include "tensor/dtype.h"

namespace cohort::kernels {
namespace {

using Values = std::vector<float>;

constexpr int64_t kSizes[] = {0, 1, 2, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 127, 200};
constexpr float kGuard = 12345.0f;  // behind each result: must survive

class VectorOps : public testing::TestWithParam<const Kernels*> {
 protected:
  const VectorKernels& kernels_ = GetParam()->vector;
  std::mt19937 engine_{3};

  Values random(int64_t size, float spread = 1.0f) {
    std::normal_distribution<float> normal(0.0f, spread);
    Values values(static_cast<size_t>(size) + 1);
    for (float& value : values) value = normal(engine_);
    values.back() = kGuard;
    return values;
  }
};

void expect_close(float got, double wanted, double tolerance = 1e-6) {
  EXPECT_NEAR(got, wanted, tolerance * std::max(1.0, std::abs(wanted)));
}

TEST_P(VectorOps, AddAddScaledAndScaleTouchJustTheirValues) {
  for (int64_t size : kSizes) {
    const Values x = random(size), y = random(size);
    Values sum = y, scaled_sum = y, scaled = y;
    kernels_.add(sum.data(), x.data(), size);
    kernels_.add_scaled(scaled_sum.data(), x.data(), 0.3f, size);
    kernels_.scale(scaled.data(), 0.3f, size);
    for (int64_t i = 0; i < size; ++i) {
      EXPECT_EQ(sum[i], x[i] + y[i]);
      expect_close(scaled_sum[i], y[i] + 0.3 * x[i]);
      EXPECT_EQ(scaled[i], y[i] * 0.3f);
    }
    for (const Values& values : {sum, scaled_sum, scaled}) EXPECT_EQ(values.back(), kGuard);
  }
}

TEST_P(VectorOps, RmsNormDividesByTheRootMeanSquare) {
  for (int64_t size : kSizes) {
    if (size == 0) continue;
    const Values x = random(size, 3.0f), weight = random(size);
    double squares = 0;
    for (int64_t i = 0; i < size; ++i) squares += double{x[i]} * x[i];
    const double root = std::sqrt(squares / static_cast<double>(size) + 1e-5);
    Values y = x, plain = x;
    kernels_.rms_norm(y.data(), weight.data(), y.data(), size, 1e-5f);  // in place
    kernels_.rms_norm(x.data(), nullptr, plain.data(), size, 1e-5f);
    for (int64_t i = 0; i < size; ++i) {
      expect_close(y[i], x[i] / root * weight[i]);
      expect_close(plain[i], x[i] / root);
    }
    EXPECT_EQ(y.back(), kGuard);
  }
}

double plain_gate(Gate kind, double g, double u) {
  const auto sigmoid = [](double x) { return 1 / (1 + std::exp(-x)); };
  switch (kind) {
    case Gate::kSilu: return g * sigmoid(g) * u;
    case Gate::kGeluTanh:
      return g * sigmoid(2 * std::sqrt(2 / M_PI) * (g + 0.044715 * g * g * g)) * u;
    case Gate::kRelu2: return g > 0 ? g * g * u : 0;
    case Gate::kGptOss: {
      const double clipped = std::min(g, 7.0);
      return clipped * sigmoid(1.702 * clipped) * (std::clamp(u, -7.0, 7.0) + 1);
    }
  }
  return 0;
}

TEST_P(VectorOps, GatesFollowTheirFormulasFarFromZeroToo) {
  for (Gate kind : {Gate::kSilu, Gate::kGeluTanh, Gate::kRelu2, Gate::kGptOss}) {
    for (int64_t size : kSizes) {
      Values g = random(size, 5.0f), u = random(size, 5.0f), y = random(size);
      if (size > 8) {
        g[3] = 300.0f;
        g[5] = -300.0f;
        g[7] = 0.0f;
      }
      kernels_.gate(kind, g.data(), u.data(), y.data(), size);
      for (int64_t i = 0; i < size; ++i) expect_close(y[i], plain_gate(kind, g[i], u[i]), 2e-6);
      EXPECT_EQ(y.back(), kGuard);
    }
  }
}

TEST_P(VectorOps, PairedGatesAreThoseOfTheirHalves) {
  for (Gate kind : {Gate::kSilu, Gate::kGeluTanh, Gate::kRelu2, Gate::kGptOss}) {
    for (int64_t size : kSizes) {
      const Values both = random((size + kPanelRows - 1) / kPanelRows * 2 * kPanelRows, 5.0f);
      Values g = random(size), u = random(size), y = random(size), wanted = random(size);
      for (int64_t i = 0; i < size; ++i) {
        const int64_t at = i / kPanelRows * 2 * kPanelRows + i % kPanelRows;
        g[i] = both[at];
        u[i] = both[at + kPanelRows];
      }
      kernels_.gate(kind, g.data(), u.data(), wanted.data(), size);
      kernels_.gate_paired(kind, both.data(), y.data(), size);
      for (int64_t i = 0; i < size; ++i) EXPECT_EQ(y[i], wanted[i]);
      EXPECT_EQ(y.back(), kGuard);
    }
  }
}

TEST_P(VectorOps, RopeRotatesPairs) {
  for (int pairs : {1, 2, 5, 8, 16, 17, 32, 64}) {
    for (const bool traditional : {false, true}) {
      const Values x = random(2 * pairs), angles = random(pairs, 2.0f);
      Values cos, sin, y = x;
      for (int i = 0; i < pairs; ++i) {
        cos.push_back(std::cos(angles[i]));
        sin.push_back(std::sin(angles[i]));
      }
      kernels_.rope(y.data(), cos.data(), sin.data(), pairs, traditional);
      for (int i = 0; i < pairs; ++i) {
        const int a = traditional ? 2 * i : i, b = traditional ? 2 * i + 1 : i + pairs;
        expect_close(y[a], double{x[a]} * cos[i] - double{x[b]} * sin[i]);
        expect_close(y[b], double{x[b]} * cos[i] + double{x[a]} * sin[i]);
      }
      EXPECT_EQ(y.back(), kGuard);
    }
  }
}

// ---- attention ----

constexpr KvFormat kFormats[] = {KvFormat::kF32, KvFormat::kF16, KvFormat::kBF16, KvFormat::kQ8};

struct Block {
  const std::byte* bytes;
  int dim;
};

float greatest(const Values& values, int begin, int end) {
  float most = 0;
  for (int i = begin; i < end; ++i) most = std::max(most, std::abs(values[i]));
  return most;
}

// Elements as the header describes a block's bytes.
float plain_element(KvFormat format, const Block& block, int64_t i) {
  const auto* halves = reinterpret_cast<const uint16_t*>(block.bytes);
  if (format == KvFormat::kF32) return reinterpret_cast<const float*>(block.bytes)[i];
  return format == KvFormat::kF16 ? f16_to_float(halves[i]) : bf16_to_float(halves[i]);
}

float q8_element(const Block& block, int64_t at, int group, int slot) {
  const auto* scales =
      reinterpret_cast<const uint16_t*>(block.bytes + kv_codes_bytes(KvFormat::kQ8, block.dim));
  return static_cast<float>(static_cast<int>(block.bytes[at]) - kKvCodeOffset) *
         bf16_to_float(scales[group * kKvBlockTokens + slot]);
}

float key_element(KvFormat format, const Block& block, int slot, int d) {
  if (format == KvFormat::kQ8)
    return q8_element(block, (d / 4 * kKvBlockTokens + slot) * 4 + d % 4, d / kKvQuantGroup, slot);
  return plain_element(format, block, int64_t{d} * kKvBlockTokens + slot);
}

float value_element(KvFormat format, const Block& block, int slot, int c) {
  if (format == KvFormat::kQ8)
    return q8_element(block, (slot / 4 * block.dim + c) * 4 + slot % 4, 0, slot);
  return plain_element(format, block, int64_t{slot} * block.dim + c);
}

// How far a stored x may be off, `most` being the greatest of those it shares a scale with.
float rounding(KvFormat format, float x, float most) {
  switch (format) {
    case KvFormat::kF32: return 0;
    case KvFormat::kF16: return std::abs(x) / 2048;
    case KvFormat::kBF16: return std::abs(x) / 256;
    case KvFormat::kQ8: return most / 127 * 0.51f;
  }
  return 0;
}

TEST_P(VectorOps, StoredKeysAndValuesLieWhereTheHeaderSays) {
  for (KvFormat format : kFormats) {
    for (int dim : {1, 16, 31, 32, 64, 100}) {
      for (int slot : {0, 5, kKvBlockTokens - 1}) {
        const Values x = random(dim, 4.0f);
        std::vector<std::byte> keys(kv_key_bytes(format, dim)), values(kv_value_bytes(format, dim));
        kernels_.attention.store_key(format, keys.data(), slot, x.data(), dim);
        kernels_.attention.store_value(format, values.data(), slot, x.data(), dim);
        for (int i = 0; i < dim; ++i) {
          const float key = key_element(format, {keys.data(), dim}, slot, i);
          const float value = value_element(format, {values.data(), dim}, slot, i);
          const int group = i / kKvQuantGroup * kKvQuantGroup;
          const int end = std::min(dim, group + kKvQuantGroup);
          EXPECT_NEAR(key, x[i], rounding(format, x[i], greatest(x, group, end)));
          EXPECT_NEAR(value, x[i], rounding(format, x[i], greatest(x, 0, dim)));
        }
      }
    }
  }
}

TEST_P(VectorOps, Q8StoresZerosAndTinyValues) {
  std::vector<std::byte> bytes(kv_key_bytes(KvFormat::kQ8, 32));
  const Block keys{bytes.data(), 32};
  const Values zeros(32, 0.0f), tiny(32, 1e-30f);
  kernels_.attention.store_key(KvFormat::kQ8, bytes.data(), 0, zeros.data(), 32);
  kernels_.attention.store_key(KvFormat::kQ8, bytes.data(), 1, tiny.data(), 32);
  for (int i = 0; i < 32; ++i) {
    EXPECT_EQ(key_element(KvFormat::kQ8, keys, 0, i), 0.0f);
    EXPECT_NEAR(key_element(KvFormat::kQ8, keys, 1, i), 1e-30f, 1e-32f);
  }
}

struct Sizes {
  int rows, key_dim, value_dim;
  bool value_in_key = false;
};

enum class Way : uint8_t { kFloats, kDots, kBf16 };

// Six blocks of which the rows see different parts, through one tile or a tile a row. What no row sees was never stored.
class AttendFixture {
 public:
  AttendFixture(const Kernels& kernels, KvFormat format, const Sizes& sizes, std::mt19937& engine)
      : all_(kernels), kernels_(kernels.vector.attention), format_(format), sizes_(sizes) {
    std::normal_distribution<float> normal;
    Values key(sizes.key_dim), value(sizes.value_dim);
    for (std::vector<std::byte>& block : blocks_) {
      block.resize(key_bytes() + kv_value_bytes(format, sizes.value_dim), std::byte{0xff});
      const int stored = &block == &blocks_.back() ? kLast % kKvBlockTokens + 1 : kKvBlockTokens;
      for (int slot = 0; slot < stored; ++slot) {
        for (float& x : key) x = normal(engine);
        for (float& x : value) x = normal(engine);
        kernels_.store_key(format, block.data(), slot, key.data(), sizes.key_dim);
        kernels_.store_value(format, block.data() + key_bytes(), slot, value.data(),
                             sizes.value_dim);
      }
    }
    for (int i = 0; i < sizes.rows * sizes.key_dim; ++i) queries_.push_back(normal(engine) * 0.5f);
    for (int r = 0; r < sizes.rows; ++r) {
      last_.push_back(kLast * (r + 1) / sizes.rows);
      first_.push_back(std::max(0, last_.back() - 100));
    }
  }

  // The tile's out / sum, for rows [first_row, first_row + rows) in one tile that reads no more blocks than it must.
  Values attend(int first_row, int rows, Way way = Way::kFloats) const {
    const auto quantized_queries = quantized(first_row, rows);
    const auto bf16_queries =
        way == Way::kBf16 ? in_bf16(first_row, rows) : std::vector<std::byte>{};
    Values max(rows, -std::numeric_limits<float>::infinity()), sum(rows, 0.0f);
    Values out(static_cast<size_t>(rows) * sizes_.value_dim, 0.0f);
    Values scratch(attention_scratch_floats(sizes_.key_dim, sizes_.value_dim));
    const AttentionTile tile{
        .format = format_,
        .rows = rows,
        .key_dim = sizes_.key_dim,
        .value_dim = sizes_.value_dim,
        .value_in_key = sizes_.value_in_key,
        .queries = queries_.data() + first_row * sizes_.key_dim,
        .quantized_queries = way == Way::kDots ? quantized_queries.data() : nullptr,
        .bf16_queries = way == Way::kBf16 ? bf16_queries.data() : nullptr,
        .first = first_.data() + first_row,
        .last = last_.data() + first_row,
        .max = max.data(),
        .sum = sum.data(),
        .out = out.data(),
        .scratch = scratch.data()};
    const int last_block = last_[first_row + rows - 1] / kKvBlockTokens;
    for (int b = first_[first_row] / kKvBlockTokens; b <= last_block;) {
      const int end = std::min(last_block + 1, (b / kAttentionBlocks + 1) * kAttentionBlocks);
      const int known = std::min(last_block + 1, end + 2);
      const std::byte* blocks[kAttentionBlocks + 2];
      for (int i = b; i < known; ++i) blocks[i - b] = blocks_[i].data();
      kernels_.attend(tile, blocks, end - b, known - end, b * kKvBlockTokens);
      b = end;
    }
    for (int i = 0; i < rows * sizes_.value_dim; ++i) out[i] /= sum[i / sizes_.value_dim];
    return out;
  }

  std::vector<QuantizedGroup> quantized(int first_row, int rows) const {
    const int groups = kv_quant_groups(sizes_.key_dim);
    std::vector<QuantizedGroup> queries(static_cast<size_t>(rows) * groups);
    for (int r = 0; r < rows; ++r) {
      all_.matmul.quantize_activation(queries_.data() + (first_row + r) * sizes_.key_dim,
                                      sizes_.key_dim, 1, &queries[r * groups]);
    }
    return queries;
  }

  std::vector<std::byte> in_bf16(int first_row, int rows) const {
    std::vector<std::byte> queries(bf16_query_bytes(rows, sizes_.key_dim));
    kernels_.pack_bf16(queries_.data() + first_row * sizes_.key_dim, rows, sizes_.key_dim,
                       queries.data());
    return queries;
  }

  // What a way makes of all rows is off by this part of it.
  double relative_error(Way way) const {
    const Values got = attend(0, sizes_.rows, way);
    double errors = 0, squares = 0;
    for (int i = 0; i < sizes_.rows * sizes_.value_dim; ++i) {
      const double wanted = plain(i / sizes_.value_dim, i % sizes_.value_dim);
      errors += (got[i] - wanted) * (got[i] - wanted);
      squares += wanted * wanted;
    }
    return std::sqrt(errors / squares);
  }

  double plain(int row, int column) const {
    double sum = 0, total = 0;
    for (int position = first_[row]; position <= last_[row]; ++position) {
      double score = 0;
      for (int d = 0; d < sizes_.key_dim; ++d)
        score += double{queries_[row * sizes_.key_dim + d]} * key(position, d);
      const double weight = std::exp(score);
      sum += weight;
      total += weight * (sizes_.value_in_key ? key(position, column) : value(position, column));
    }
    return total / sum;
  }

 private:
  size_t key_bytes() const { return kv_key_bytes(format_, sizes_.key_dim); }
  float key(int position, int d) const {
    return key_element(format_, {blocks_[position / kKvBlockTokens].data(), sizes_.key_dim},
                       position % kKvBlockTokens, d);
  }
  float value(int position, int d) const {
    const std::byte* values = blocks_[position / kKvBlockTokens].data() + key_bytes();
    return value_element(format_, {values, sizes_.value_dim}, position % kKvBlockTokens, d);
  }

  static constexpr int kLast = 180;

  const Kernels& all_;
  const AttentionKernels& kernels_;
  KvFormat format_;
  Sizes sizes_;
  std::array<std::vector<std::byte>, 6> blocks_;
  Values queries_;
  std::vector<int32_t> first_, last_;
};

constexpr Sizes kAttendSizes[] = {
    {1, 16, 16}, {2, 33, 47},   {3, 64, 64},   {5, 7, 3},         {8, 80, 96},
    {9, 64, 65}, {64, 20, 128}, {35, 128, 24}, {4, 48, 40, true}, {19, 72, 64, true}};

TEST_P(VectorOps, AttendIsASoftmaxOverTheSlotsARowSees) {
  for (KvFormat format : kFormats) {
    for (const Sizes& sizes : kAttendSizes) {
      const AttendFixture fixture(*GetParam(), format, sizes, engine_);
      const Values got = fixture.attend(0, sizes.rows);
      for (int i = 0; i < sizes.rows * sizes.value_dim; ++i) {
        ASSERT_NEAR(got[i], fixture.plain(i / sizes.value_dim, i % sizes.value_dim), 1e-5)
            << "format " << static_cast<int>(format) << ", " << sizes.rows << " rows, at " << i;
      }
    }
  }
}

void expect_rows_alone_alike(const AttendFixture& fixture, const Sizes& sizes, Way way) {
  const Values together = fixture.attend(0, sizes.rows, way);
  for (int r = 0; r < sizes.rows; ++r) {
    const Values part(together.begin() + r * sizes.value_dim,
                      together.begin() + (r + 1) * sizes.value_dim);
    ASSERT_EQ(fixture.attend(r, 1, way), part) << "row " << r << " of " << sizes.rows;
  }
}

TEST_P(VectorOps, ARowsAttentionDoesNotDependOnTheRowsBesideIt) {
  for (KvFormat format : kFormats) {
    for (const Sizes& sizes : kAttendSizes) {
      const AttendFixture fixture(*GetParam(), format, sizes, engine_);
      expect_rows_alone_alike(fixture, sizes, Way::kFloats);
    }
  }
}

// In 8 bits: each product's numbers are off by up to 1/254 of the greatest of their 32.
TEST_P(VectorOps, AttendByDotsIsAboutTheSame) {
  for (const Sizes& sizes : kAttendSizes) {
    if (sizes.value_in_key) continue;
    const AttendFixture fixture(*GetParam(), KvFormat::kQ8, sizes, engine_);
    const double error = fixture.relative_error(Way::kDots);
    EXPECT_LT(error, 0.03) << sizes.rows << " rows";
    EXPECT_GT(error, 1e-4) << sizes.rows << " rows";
  }
}

TEST_P(VectorOps, ARowsAttentionByDotsDoesNotDependOnTheRowsBesideIt) {
  for (const Sizes& sizes : kAttendSizes) {
    if (sizes.value_in_key) continue;
    const AttendFixture fixture(*GetParam(), KvFormat::kQ8, sizes, engine_);
    expect_rows_alone_alike(fixture, sizes, Way::kDots);
  }
}

// Numbers in bf16 are off by up to 1/512, so the scores here by about 0.006 and each weight by as much of itself.
TEST_P(VectorOps, AttendInBf16IsAboutTheSame) {
  if (kernels_.attention.pack_bf16 == nullptr) GTEST_SKIP() << "no bf16";
  for (KvFormat format : kFormats) {
    for (const Sizes& sizes : kAttendSizes) {
      const AttendFixture fixture(*GetParam(), format, sizes, engine_);
      const double error = fixture.relative_error(Way::kBf16);
      EXPECT_LT(error, 0.015) << "format " << static_cast<int>(format) << ", " << sizes.rows;
      EXPECT_GT(error, 1e-5) << "format " << static_cast<int>(format) << ", " << sizes.rows;
    }
  }
}

TEST_P(VectorOps, ARowsAttentionInBf16DoesNotDependOnTheRowsBesideIt) {
  if (kernels_.attention.pack_bf16 == nullptr) GTEST_SKIP() << "no bf16";
  for (KvFormat format : kFormats) {
    for (const Sizes& sizes : kAttendSizes) {
      const AttendFixture fixture(*GetParam(), format, sizes, engine_);
      expect_rows_alone_alike(fixture, sizes, Way::kBf16);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Isas, VectorOps, testing::ValuesIn(kernels_under_test()),
                         [](const auto& test) { return std::string(test.param->name); });

}  // namespace
}  // namespace cohort::kernels
