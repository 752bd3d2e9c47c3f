#include "transport/wire.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "tensor/dtype.h"
#include "transport/header.h"
#include "transport/testing/ranks.h"

namespace cohort::transport {
namespace {

std::vector<float> there_and_back(Wire wire, const std::vector<float>& values) {
  std::vector<std::byte> bytes(wire_bytes(wire, values.size()));
  encode(wire, values, bytes.data());
  std::vector<float> result(values.size());
  decode(wire, bytes.data(), result);
  return result;
}

TEST(Wire, Bf16RoundsAsTheTensorModuleDoes) {
  std::vector<float> values = testing::values_of(3, 1003);
  for (float special : {0.0f, -0.0f, 1e-42f, 3e38f, std::numeric_limits<float>::infinity(),
                        -std::numeric_limits<float>::infinity(), 1.00390625f, 1.01171875f}) {
    values.push_back(special);
  }
  const std::vector<float> result = there_and_back(Wire::kBF16, values);
  for (size_t i = 0; i < values.size(); ++i) {
    ASSERT_EQ(float_to_bf16(result[i]), float_to_bf16(values[i])) << values[i];
    ASSERT_EQ(result[i], bf16_to_float(float_to_bf16(values[i]))) << values[i];
  }
}

TEST(Wire, Q8ErrsByAtMostHalfAStepOfItsGroup) {
  for (size_t count : {1, 31, 32, 33, 1000}) {
    const std::vector<float> values = testing::values_of(1, count);
    const std::vector<float> result = there_and_back(Wire::kQ8, values);
    for (size_t first = 0; first < count; first += kWireGroup) {
      const size_t end = std::min(count, first + kWireGroup);
      float most = 0;
      for (size_t i = first; i < end; ++i) most = std::max(most, std::abs(values[i]));
      for (size_t i = first; i < end; ++i) ASSERT_NEAR(result[i], values[i], most / 127 * 0.501f);
    }
  }
}

TEST(Wire, Q8KeepsZeroTinyAndHugeGroups) {
  std::vector<float> values(3 * kWireGroup);
  values[kWireGroup] = 1e-44f;
  values[2 * kWireGroup] = 3e38f;
  values[2 * kWireGroup + 1] = -3e38f;
  const std::vector<float> result = there_and_back(Wire::kQ8, values);
  EXPECT_EQ(result[0], 0.0f);
  EXPECT_NEAR(result[kWireGroup], 0.0f, 1e-40f);
  EXPECT_NEAR(result[2 * kWireGroup] / 3e38f, 1.0f, 1e-5f);
  EXPECT_NEAR(result[2 * kWireGroup + 1] / 3e38f, -1.0f, 1e-5f);
}

TEST(Wire, WhatIsNoNumberIsNotTakenForOne) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (float bad : {std::nanf(""), -std::nanf(""), infinity}) {
    std::vector<float> values(64, 1.0f);
    values[40] = bad;
    for (Wire wire : {Wire::kF32, Wire::kBF16, Wire::kQ8}) {
      const std::vector<float> result = there_and_back(wire, values);
      EXPECT_FALSE(std::isfinite(result[40])) << wire_name(wire);
      EXPECT_EQ(result[0], 1.0f) << "another group";
    }
  }
}

TEST(Wire, PartsAddInTheOrderGiven) {
  // (1e8 + -1e8) + 1 is 1, 1e8 + (-1e8 + 1) is 0.
  const std::vector<float> a(50, 1e8f), b(50, -1e8f), c(50, 1.0f);
  std::vector<float> sums(50);
  const auto bytes = [](const std::vector<float>& v) {
    return reinterpret_cast<const std::byte*>(v.data());
  };
  const std::byte* forward[] = {bytes(a), bytes(b), bytes(c)};
  add_parts(Wire::kF32, forward, sums);
  EXPECT_EQ(sums, std::vector<float>(50, 1.0f));
  const std::byte* backward[] = {bytes(c), bytes(b), bytes(a)};
  add_parts(Wire::kF32, backward, sums);
  EXPECT_EQ(sums, std::vector<float>(50, 0.0f));
}

TEST(Wire, PiecesFitAMessageAndEndAtGroups) {
  for (Wire wire : {Wire::kF32, Wire::kBF16, Wire::kQ8}) {
    EXPECT_EQ(parse_wire(wire_name(wire)), wire);
    EXPECT_EQ(wire_piece_values(wire) % kWireGroup, 0u);
    EXPECT_LE(wire_bytes(wire, wire_piece_values(wire)), kMaxMessageBytes);
    EXPECT_GT(wire_bytes(wire, wire_piece_values(wire) + kWireGroup), kMaxMessageBytes);
  }
  EXPECT_EQ(parse_wire("q4"), std::nullopt);
}

}  // namespace
}  // namespace cohort::transport
