#include <bit>
#include <cmath>
#include <cstring>

#include "transport/codec/isa/isa.h"

namespace cohort::transport::codec {
namespace {

// Loops run over whole groups of constant length, which is what lets the compiler vectorise them.
using Group = float[kWireGroup];

struct Halves {
  static constexpr size_t kBytes = kWireGroup * sizeof(uint16_t);

  // The same rounding as float_to_bf16() of tensor/dtype.h, inline.
  static void encode(const Group& values, std::byte* out) {
    uint16_t halves[kWireGroup];
    for (size_t i = 0; i < kWireGroup; ++i) {
      const auto bits = std::bit_cast<uint32_t>(values[i]);
      const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
      const uint32_t quiet = (bits >> 16) | 0x40;
      halves[i] = static_cast<uint16_t>((bits & 0x7fffffff) > 0x7f800000 ? quiet : rounded);
    }
    std::memcpy(out, halves, kBytes);
  }

  static void decode(const std::byte* from, Group& values) {
    uint16_t halves[kWireGroup];
    std::memcpy(halves, from, kBytes);
    for (size_t i = 0; i < kWireGroup; ++i)
      values[i] = std::bit_cast<float>(static_cast<uint32_t>(halves[i]) << 16);
  }
};

struct Codes {
  static constexpr size_t kBytes = sizeof(float) + kWireGroup;

  // The largest magnitude's bits: not-a-number ranks above infinity, as its bits do.
  static float largest(const Group& values) {
    uint32_t most = 0;
    for (float value : values) {
      const uint32_t magnitude = std::bit_cast<uint32_t>(value) & 0x7fffffff;
      most = magnitude > most ? magnitude : most;
    }
    return std::bit_cast<float>(most);
  }

  static void encode(const Group& values, std::byte* out) {
    constexpr float kMost = 127.0f;
    // Adding it leaves the integer nearest in the low mantissa bits.
    constexpr float kRoundingBias = 0x1.8p23f;
    float scale = largest(values) / kMost;
    int8_t codes[kWireGroup];
    if (!std::isfinite(scale)) {
      scale = std::bit_cast<float>(0x7fc00000);
      std::memset(codes, 1, sizeof(codes));
    } else {
      const float inverse = scale >= 0x1p-126f ? 1.0f / scale : 0.0f;
      for (size_t i = 0; i < kWireGroup; ++i) {
        const float biased = values[i] * inverse + kRoundingBias;
        codes[i] = static_cast<int8_t>(std::bit_cast<int32_t>(biased) -
                                       std::bit_cast<int32_t>(kRoundingBias));
      }
    }
    std::memcpy(out, &scale, sizeof(scale));
    std::memcpy(out + sizeof(scale), codes, sizeof(codes));
  }

  static void decode(const std::byte* from, Group& values) {
    float scale = 0;
    int8_t codes[kWireGroup];
    std::memcpy(&scale, from, sizeof(scale));
    std::memcpy(codes, from + sizeof(scale), sizeof(codes));
    for (size_t i = 0; i < kWireGroup; ++i) values[i] = scale * static_cast<float>(codes[i]);
  }
};

void copy(const float* values, size_t groups, std::byte* out) {
  std::memcpy(out, values, groups * sizeof(Group));
}

template <class Format>
void encode(const float* values, size_t groups, std::byte* out) {
  Group group;
  for (size_t g = 0; g < groups; ++g) {
    std::memcpy(group, values + g * kWireGroup, sizeof(Group));
    Format::encode(group, out + g * Format::kBytes);
  }
}

template <class Format>
void add(const std::byte* const* parts, size_t part_count, size_t groups, float* sums) {
  for (size_t g = 0; g < groups; ++g) {
    Group sum, part;
    Format::decode(parts[0] + g * Format::kBytes, sum);
    for (size_t p = 1; p < part_count; ++p) {
      Format::decode(parts[p] + g * Format::kBytes, part);
      for (size_t i = 0; i < kWireGroup; ++i) sum[i] += part[i];
    }
    std::memcpy(sums + g * kWireGroup, sum, sizeof(Group));
  }
}

// From memory to memory, without a Group between.
void add_floats(const std::byte* const* parts, size_t part_count, size_t groups, float* sums) {
  using Lanes = float __attribute__((vector_size(16)));
  for (size_t i = 0; i < groups * sizeof(Group); i += sizeof(Lanes)) {
    Lanes sum, part;
    std::memcpy(&sum, parts[0] + i, sizeof(sum));
    for (size_t p = 1; p < part_count; ++p) {
      std::memcpy(&part, parts[p] + i, sizeof(part));
      sum += part;
    }
    std::memcpy(sums + i / sizeof(float), &sum, sizeof(sum));
  }
}

}  // namespace

const Codec kPlain = {
    "plain", {copy, encode<Halves>, encode<Codes>}, {add_floats, add<Halves>, add<Codes>}};

}  // namespace cohort::transport::codec
