#include "transport/wire.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/bytes.h"
#include "base/check.h"
#include "transport/header.h"

namespace cohort::transport {
namespace {

// Loops run over whole groups of constant length, which is what lets the compiler vectorise them. A shorter last group
// is padded with zeros in a copy.
using Group = float[kWireGroup];
constexpr size_t kMaxGroupBytes = kWireGroup * sizeof(float);

constexpr size_t group_bytes(Wire wire) {
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

template <Wire wire>
void decode_group(const std::byte* from, Group& values) {
  if constexpr (wire == Wire::kF32) std::memcpy(values, from, sizeof(Group));
  if constexpr (wire == Wire::kBF16) decode_bf16(from, values);
  if constexpr (wire == Wire::kQ8) decode_q8(from, values);
}

template <Wire wire>
void encode_group(const Group& values, std::byte* out) {
  if constexpr (wire == Wire::kF32) std::memcpy(out, values, sizeof(Group));
  if constexpr (wire == Wire::kBF16) encode_bf16(values, out);
  if constexpr (wire == Wire::kQ8) encode_q8(values, out);
}

// One whole group, `offset` bytes into each part.
template <Wire wire>
void add_group(std::span<const std::byte* const> parts, size_t offset, float* out) {
  Group sum, part;
  decode_group<wire>(parts[0] + offset, sum);
  for (size_t p = 1; p < parts.size(); ++p) {
    decode_group<wire>(parts[p] + offset, part);
    for (size_t i = 0; i < kWireGroup; ++i) sum[i] += part[i];
  }
  std::memcpy(out, sum, sizeof(Group));
}

// The common case, two ranks and plain floats, goes from memory to memory three times as fast as through a Group.
void add_two_groups(const std::byte* a, const std::byte* b, float* out) {
  using Lanes = float __attribute__((vector_size(16)));
  for (size_t i = 0; i < sizeof(Group); i += sizeof(Lanes)) {
    store(out + i / sizeof(float), load<Lanes>(a + i) + load<Lanes>(b + i));
  }
}

// The last group, of `count` values: each part is widened to a whole one.
template <Wire wire>
void add_tail(std::span<const std::byte* const> parts, size_t offset, size_t count, float* out) {
  Group sum{};
  for (size_t p = 0; p < parts.size(); ++p) {
    std::byte padded[kMaxGroupBytes]{};
    std::memcpy(padded, parts[p] + offset, wire_bytes(wire, count));
    Group part;
    decode_group<wire>(padded, part);
    for (size_t i = 0; i < kWireGroup; ++i) sum[i] = p == 0 ? part[i] : sum[i] + part[i];
  }
  std::memcpy(out, sum, count * sizeof(float));
}

template <Wire wire>
void add_all(std::span<const std::byte* const> parts, std::span<float> sums) {
  const size_t whole = sums.size() / kWireGroup;
  for (size_t g = 0; g < whole; ++g) {
    const size_t offset = g * group_bytes(wire);
    float* const out = &sums[g * kWireGroup];
    if (wire == Wire::kF32 && parts.size() == 2) {
      add_two_groups(parts[0] + offset, parts[1] + offset, out);
    } else {
      add_group<wire>(parts, offset, out);
    }
  }
  const size_t rest = sums.size() % kWireGroup;
  if (rest > 0) add_tail<wire>(parts, whole * group_bytes(wire), rest, &sums[whole * kWireGroup]);
}

template <Wire wire>
void encode_all(std::span<const float> values, std::byte* out) {
  const size_t whole = values.size() / kWireGroup;
  Group group{};
  for (size_t g = 0; g < whole; ++g, out += group_bytes(wire)) {
    std::memcpy(group, &values[g * kWireGroup], sizeof(Group));
    encode_group<wire>(group, out);
  }
  const size_t rest = values.size() % kWireGroup;
  if (rest == 0) return;
  std::fill(std::begin(group), std::end(group), 0.0f);
  std::memcpy(group, &values[whole * kWireGroup], rest * sizeof(float));
  std::byte padded[kMaxGroupBytes];
  encode_group<wire>(group, padded);
  std::memcpy(out, padded, wire_bytes(wire, rest));
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
  switch (wire) {
    case Wire::kF32: return encode_all<Wire::kF32>(values, out);
    case Wire::kBF16: return encode_all<Wire::kBF16>(values, out);
    case Wire::kQ8: return encode_all<Wire::kQ8>(values, out);
  }
}

void decode(Wire wire, const std::byte* from, std::span<float> values) {
  const std::byte* part[] = {from};
  add_parts(wire, part, values);
}

void add_parts(Wire wire, std::span<const std::byte* const> parts, std::span<float> sums) {
  COHORT_CHECK(!parts.empty());
  switch (wire) {
    case Wire::kF32: return add_all<Wire::kF32>(parts, sums);
    case Wire::kBF16: return add_all<Wire::kBF16>(parts, sums);
    case Wire::kQ8: return add_all<Wire::kQ8>(parts, sums);
  }
}

}  // namespace cohort::transport
