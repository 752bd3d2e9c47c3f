#include "transport/wire.h"

#include <cstring>

#include "base/bytes.h"
#include "base/check.h"
#include "transport/codec/codec.h"
#include "transport/header.h"

namespace cohort::transport {
namespace {

constexpr size_t kMaxGroupBytes = kWireGroup * sizeof(float);

constexpr size_t group_bytes(Wire wire) {
  switch (wire) {
    case Wire::kF32: return kWireGroup * sizeof(float);
    case Wire::kBF16: return kWireGroup * sizeof(uint16_t);
    case Wire::kQ8: return kWireGroup + sizeof(float);
  }
  return 0;
}

const Codec& codec() {
  static const Codec& once = best_codec();
  return once;
}

// The last group, a shorter one: each part is widened to a whole one.
void add_tail(Wire wire, std::span<const std::byte* const> parts, size_t offset,
              std::span<float> sums) {
  AddGroups& add = *codec().add[static_cast<size_t>(wire)];
  float sum[kWireGroup]{}, one[kWireGroup];
  for (size_t p = 0; p < parts.size(); ++p) {
    std::byte padded[kMaxGroupBytes]{};
    std::memcpy(padded, parts[p] + offset, wire_bytes(wire, sums.size()));
    const std::byte* const part = padded;
    add(&part, 1, 1, one);
    for (size_t i = 0; i < kWireGroup; ++i) sum[i] = p == 0 ? one[i] : sum[i] + one[i];
  }
  std::memcpy(sums.data(), sum, sums.size_bytes());
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
  EncodeGroups& encode_groups = *codec().encode[static_cast<size_t>(wire)];
  const size_t whole = values.size() / kWireGroup;
  encode_groups(values.data(), whole, out);
  const std::span<const float> rest = values.subspan(whole * kWireGroup);
  if (rest.empty()) return;
  float group[kWireGroup]{};
  std::memcpy(group, rest.data(), rest.size_bytes());
  std::byte padded[kMaxGroupBytes];
  encode_groups(group, 1, padded);
  std::memcpy(out + whole * group_bytes(wire), padded, wire_bytes(wire, rest.size()));
}

void decode(Wire wire, const std::byte* from, std::span<float> values) {
  const std::byte* part[] = {from};
  add_parts(wire, part, values);
}

void add_parts(Wire wire, std::span<const std::byte* const> parts, std::span<float> sums) {
  COHORT_CHECK(!parts.empty());
  const size_t whole = sums.size() / kWireGroup;
  codec().add[static_cast<size_t>(wire)](parts.data(), parts.size(), whole, sums.data());
  const std::span<float> rest = sums.subspan(whole * kWireGroup);
  if (!rest.empty()) add_tail(wire, parts, whole * group_bytes(wire), rest);
}

}  // namespace cohort::transport
