#include "tensor/quantization.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/bytes.h"

namespace cohort {
namespace {

// Codes packed as the header says: one little-endian bit stream a row.
std::vector<std::byte> pack(const std::vector<uint32_t>& codes, int bits) {
  std::vector<std::byte> stream(divide_up<size_t>(codes.size() * static_cast<size_t>(bits), 32) *
                                4);
  for (size_t i = 0; i < codes.size(); ++i) {
    for (int b = 0; b < bits; ++b) {
      const size_t bit = i * static_cast<size_t>(bits) + static_cast<size_t>(b);
      if (codes[i] >> b & 1) stream[bit / 8] |= static_cast<std::byte>(1 << bit % 8);
    }
  }
  return stream;
}

class AffineBits : public testing::TestWithParam<int> {};

TEST_P(AffineBits, ARowIsScaleTimesCodePlusBias) {
  const int bits = GetParam();
  std::vector<uint32_t> codes(64);
  for (size_t i = 0; i < codes.size(); ++i) codes[i] = (i * 7 + 3) & ((1u << bits) - 1);
  const auto stream = pack(codes, bits);
  const float scales[2] = {0.5f, 2.0f};
  const float biases[2] = {-1.0f, 0.25f};
  MatrixView view{.format = {QuantMode::kAffine, bits, 32}, .rows = 1, .columns = 64};
  view.weight = {stream.data(), DType::kU32, {1, 64 * bits / 32}};
  view.scales = {reinterpret_cast<const std::byte*>(scales), DType::kF32, {1, 2}};
  view.biases = {reinterpret_cast<const std::byte*>(biases), DType::kF32, {1, 2}};
  std::vector<float> row(64);
  dequantize_row(view, 0, 0, row.data());
  for (size_t i = 0; i < row.size(); ++i) {
    EXPECT_EQ(row[i], scales[i / 32] * static_cast<float>(codes[i]) + biases[i / 32]) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(AllWidths, AffineBits, testing::Values(2, 3, 4, 5, 6, 8));

TEST(Quantization, Mxfp4IsAPowerOfTwoTimesE2M1) {
  std::vector<uint32_t> codes(32);
  for (size_t i = 0; i < codes.size(); ++i) codes[i] = i % 16;
  const auto stream = pack(codes, 4);
  const uint8_t scale = 128;
  MatrixView view{.format = {QuantMode::kMxfp4, 4, 32}, .rows = 1, .columns = 32};
  view.weight = {stream.data(), DType::kU32, {1, 4}};
  view.scales = {reinterpret_cast<const std::byte*>(&scale), DType::kU8, {1, 1}};
  std::vector<float> row(32);
  dequantize_row(view, 0, 0, row.data());
  EXPECT_EQ(row[7], 12.0f);
  EXPECT_EQ(row[15], -12.0f);
  EXPECT_EQ(row[17], 1.0f);
}

}  // namespace
}  // namespace cohort
