#include "transport/codec/codec.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace cohort::transport {
namespace {

constexpr size_t kGroups = 67;
constexpr Wire kAll[] = {Wire::kF32, Wire::kBF16, Wire::kQ8};

size_t group_bytes(Wire wire) {
  return wire == Wire::kF32    ? 4 * kWireGroup
         : wire == Wire::kBF16 ? 2 * kWireGroup
                               : 4 + kWireGroup;
}

uint32_t next_bits(uint32_t& state) {
  state = state * 1664525u + 1013904223u;
  return state ^ (state >> 15);
}

// By turns: any bits at all, among them what is no number; values of one size; halves of a step, where rounding decides;
// nothing but zeros and the smallest numbers.
std::vector<float> values_of(uint32_t seed) {
  std::vector<float> values(kGroups * kWireGroup);
  for (size_t i = 0; i < values.size(); ++i) {
    const uint32_t bits = next_bits(seed);
    const float even = static_cast<float>(static_cast<int32_t>(bits)) * 0x1p-31f;
    switch (i / kWireGroup % 4) {
      case 0: values[i] = std::bit_cast<float>(bits); break;
      case 1: values[i] = even * 12.5f; break;
      case 2:
        values[i] = i % kWireGroup == 5 ? 127.0f : static_cast<float>(bits % 253) * 0.5f - 63;
        break;
      default: values[i] = std::bit_cast<float>(bits & 0x80000003); break;
    }
  }
  return values;
}

// Specials where a rounding carry or a comparison would show.
std::vector<float> edges() {
  std::vector<float> values(kGroups * kWireGroup, 1.0f);
  const uint32_t bits[] = {0x7f800000, 0xff800000, 0x7f800001, 0x7fffffff, 0xffffffff, 0x7f7fffff,
                           0x00000001, 0x807fffff, 0x80000000, 0x3f808000, 0x3f818000, 0x3f807fff};
  for (size_t i = 0; i < std::size(bits); ++i)
    values[i * 5 * kWireGroup + i] = std::bit_cast<float>(bits[i]);
  return values;
}

std::vector<std::byte> encoded(const Codec& codec, Wire wire, const std::vector<float>& values) {
  std::vector<std::byte> bytes(kGroups * group_bytes(wire));
  codec.encode[static_cast<size_t>(wire)](values.data(), kGroups, bytes.data());
  return bytes;
}

// Not-a-number has many bit patterns, and which one a sum of two keeps is the compiler's choice.
std::vector<uint32_t> bits_of(const std::vector<float>& values) {
  std::vector<uint32_t> bits;
  for (const float value : values) {
    bits.push_back(value == value ? std::bit_cast<uint32_t>(value) : 0x7fc00000);
  }
  return bits;
}

class Codecs : public testing::TestWithParam<const Codec*> {};

TEST_P(Codecs, EncodeTheBytesOfThePlainOne) {
  const Codec& plain = *available_codecs().front();
  std::vector<std::vector<float>> inputs{edges()};
  for (uint32_t seed = 1; seed <= 200; ++seed) inputs.push_back(values_of(seed));
  for (const Wire wire : kAll) {
    for (size_t i = 0; i < inputs.size(); ++i) {
      ASSERT_EQ(encoded(*GetParam(), wire, inputs[i]), encoded(plain, wire, inputs[i]))
          << "wire " << static_cast<int>(wire) << ", input " << i;
    }
  }
}

TEST_P(Codecs, AddToTheBitsOfThePlainOneWhereverPartsLie) {
  const Codec& plain = *available_codecs().front();
  for (const Wire wire : kAll) {
    std::vector<std::vector<std::byte>> memory;
    for (uint32_t p = 0; p < 4; ++p) {
      const auto bytes = encoded(plain, wire, p == 0 ? edges() : values_of(900 + p));
      memory.emplace_back(p + 1);  // at odd places
      memory.back().insert(memory.back().end(), bytes.begin(), bytes.end());
    }
    std::vector<const std::byte*> parts;
    for (size_t p = 0; p < memory.size(); ++p) parts.push_back(memory[p].data() + p + 1);
    for (size_t count = 1; count <= parts.size(); ++count) {
      std::vector<float> expected(kGroups * kWireGroup), sums(kGroups * kWireGroup);
      const auto way = static_cast<size_t>(wire);
      plain.add[way](parts.data(), count, kGroups, expected.data());
      GetParam()->add[way](parts.data(), count, kGroups, sums.data());
      ASSERT_EQ(bits_of(sums), bits_of(expected)) << "wire " << way << ", " << count << " parts";
    }
  }
}

TEST_P(Codecs, AddFloatsWhereTheirOwnPartLies) {
  std::vector<float> sums(kGroups * kWireGroup, 1.5f);
  const std::vector<float> other(kGroups * kWireGroup, 0.25f);
  const std::byte* parts[] = {reinterpret_cast<const std::byte*>(sums.data()),
                              reinterpret_cast<const std::byte*>(other.data())};
  GetParam()->add[static_cast<size_t>(Wire::kF32)](parts, 2, kGroups, sums.data());
  EXPECT_EQ(sums, std::vector<float>(kGroups * kWireGroup, 1.75f));
}

TEST_P(Codecs, RoundHalvesOfAStepToEven) {
  std::vector<float> values(kGroups * kWireGroup);
  for (size_t i = 0; i < kWireGroup; ++i) values[i] = static_cast<float>(i) - 15.5f;
  values[0] = 127.0f;
  const auto bytes = encoded(*GetParam(), Wire::kQ8, values);
  for (size_t i = 1; i < kWireGroup; ++i) {
    const int code = static_cast<int8_t>(bytes[4 + i]);
    EXPECT_EQ(code % 2, 0) << values[i];
    EXPECT_EQ(std::abs(static_cast<float>(code) - values[i]), 0.5f) << values[i];
  }
}

INSTANTIATE_TEST_SUITE_P(EachInstructionSet, Codecs,
                         testing::ValuesIn(available_codecs().begin(), available_codecs().end()),
                         [](const auto& one) { return std::string(one.param->name); });

}  // namespace
}  // namespace cohort::transport
