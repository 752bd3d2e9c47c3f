#include "transport/wire.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/bytes.h"
#include "base/check.h"
#include "transport/header.h"

namespace cohort::transport {
namespace {

// Loops run over whole groups of constant length, which is what lets the compiler vectorise them; a shorter last group
// is padded with zeros in a copy.
using Group = float[kWireGroup];

size_t group_bytes(Wire wire) {
  switch (wire) {
    case Wire::kF32: return kWireGroup * sizeof(float);
    case Wire::kBF16: return kWireGroup * sizeof(uint16_t);
    case Wire::kQ8: return kWireGroup + sizeof(float);
  }
  return 0;
}

// The same rounding as float_to_bf16() of tensor/dtype.h, inline.
void encode_bf16(const Group& values, std::byte* out) {
  uint16_t halves[kWireGroup];
  for (size_t i = 0; i < kWireGroup; ++i) {
    const auto bits = std::bit_cast<uint32_t>(values[i]);
    const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    const uint32_t quiet = (bits >> 16) | 0x40;
    halves[i] = static_cast<uint16_t>((bits & 0x7fffffff) > 0x7f800000 ? quiet : rounded);
  }
  std::memcpy(out, halves, sizeof(halves));
}

void decode_bf16(const std::byte* from, Group& values) {
  uint16_t halves[kWireGroup];
  std::memcpy(halves, from, sizeof(halves));
  for (size_t i = 0; i < kWireGroup; ++i)
    values[i] = std::bit_cast<float>(static_cast<uint32_t>(halves[i]) << 16);
}

// The largest magnitude's bits: not-a-number ranks above infinity, as its bits do.
float largest(const Group& values) {
  uint32_t most = 0;
  for (float value : values) most = std::max(most, std::bit_cast<uint32_t>(value) & 0x7fffffff);
  return std::bit_cast<float>(most);
}

void encode_q8(const Group& values, std::byte* out) {
  constexpr float kMost = 127.0f;
  constexpr float kRoundingBias =
      0x1.8p23f;  // adding it leaves the integer nearest in the low mantissa bits
  const float scale = largest(values) / kMost;
  int8_t codes[kWireGroup];
  if (!std::isfinite(scale)) {
    std::fill(std::begin(codes), std::end(codes), int8_t{1});
    store(out, std::bit_cast<float>(0x7fc00000));
  } else {
    const float inverse = scale >= 0x1p-126f ? 1.0f / scale : 0.0f;
    for (size_t i = 0; i < kWireGroup; ++i) {
      const float biased = values[i] * inverse + kRoundingBias;
      codes[i] = static_cast<int8_t>(std::bit_cast<int32_t>(biased) -
                                     std::bit_cast<int32_t>(kRoundingBias));
    }
    store(out, scale);
  }
  std::memcpy(out + sizeof(float), codes, sizeof(codes));
}

void decode_q8(const std::byte* from, Group& values) {
  const float scale = load<float>(from);
  int8_t codes[kWireGroup];
  std::memcpy(codes, from + sizeof(float), sizeof(codes));
  for (size_t i = 0; i < kWireGroup; ++i) values[i] = scale * static_cast<float>(codes[i]);
}

// `count` values of a group; q8 groups are always sent whole.
void decode_group(Wire wire, const std::byte* from, size_t count, Group& values) {
  switch (wire) {
    case Wire::kF32: std::memcpy(values, from, count * sizeof(float)); return;
    case Wire::kBF16:
      if (count == kWireGroup) return decode_bf16(from, values);
      for (size_t i = 0; i < count; ++i) {
        values[i] = std::bit_cast<float>(static_cast<uint32_t>(load<uint16_t>(from + 2 * i)) << 16);
      }
      return;
    case Wire::kQ8: decode_q8(from, values); return;
  }
}

void encode_group(Wire wire, const Group& values, size_t count, std::byte* out) {
  switch (wire) {
    case Wire::kF32: std::memcpy(out, values, count * sizeof(float)); return;
    case Wire::kBF16: {
      std::byte whole[kWireGroup * sizeof(uint16_t)];
      encode_bf16(values, whole);
      std::memcpy(out, whole, count * sizeof(uint16_t));
      return;
    }
    case Wire::kQ8: encode_q8(values, out); return;
  }
}

template <Wire wire>
void add_groups(std::span<const std::byte* const> parts, std::span<float> sums) {
  const size_t stride = group_bytes(wire);
  for (size_t first = 0, offset = 0; first < sums.size(); first += kWireGroup, offset += stride) {
    const size_t count = std::min(kWireGroup, sums.size() - first);
    Group sum{}, part{};
    decode_group(wire, parts[0] + offset, count, sum);
    for (size_t p = 1; p < parts.size(); ++p) {
      decode_group(wire, parts[p] + offset, count, part);
      for (size_t i = 0; i < kWireGroup; ++i) sum[i] += part[i];
    }
    std::memcpy(&sums[first], sum, count * sizeof(float));
  }
}

}  // namespace

std::string_view wire_name(Wire wire) {
  switch (wire) {
    case Wire::kF32: return "f32";
    case Wire::kBF16: return "bf16";
    case Wire::kQ8: return "q8";
  }
  return "unknown";
}

std::optional<Wire> parse_wire(std::string_view name) {
  for (Wire wire : {Wire::kF32, Wire::kBF16, Wire::kQ8}) {
    if (wire_name(wire) == name) return wire;
  }
  return std::nullopt;
}

size_t wire_bytes(Wire wire, size_t values) {
  switch (wire) {
    case Wire::kF32: return values * sizeof(float);
    case Wire::kBF16: return values * sizeof(uint16_t);
    case Wire::kQ8: return divide_up(values, kWireGroup) * group_bytes(wire);
  }
  return 0;
}

size_t wire_piece_values(Wire wire) { return kMaxMessageBytes / group_bytes(wire) * kWireGroup; }

void encode(Wire wire, std::span<const float> values, std::byte* out) {
  for (size_t first = 0; first < values.size(); first += kWireGroup, out += group_bytes(wire)) {
    const size_t count = std::min(kWireGroup, values.size() - first);
    Group group{};
    std::memcpy(group, &values[first], count * sizeof(float));
    encode_group(wire, group, count, out);
  }
}

void decode(Wire wire, const std::byte* from, std::span<float> values) {
  const std::byte* part[] = {from};
  add_parts(wire, part, values);
}

void add_parts(Wire wire, std::span<const std::byte* const> parts, std::span<float> sums) {
  COHORT_CHECK(!parts.empty());
  switch (wire) {
    case Wire::kF32: return add_groups<Wire::kF32>(parts, sums);
    case Wire::kBF16: return add_groups<Wire::kBF16>(parts, sums);
    case Wire::kQ8: return add_groups<Wire::kQ8>(parts, sums);
  }
}

}  // namespace cohort::transport
