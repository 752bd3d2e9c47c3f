// How float32 values travel: as they are, rounded to bfloat16, or as 8-bit integers in groups of 32 with one float32
// scale (largest magnitude / 127). The two short types are for partial sums: the value that arrives is the same on every
// rank, the sender's own copy included.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace cohort::transport {

enum class Wire : uint8_t { kF32, kBF16, kQ8 };

inline constexpr size_t kWireGroup =
    32;  // values that belong together; encodings are cut at its multiples

std::string_view wire_name(Wire wire);  // "f32", "bf16", "q8"
std::optional<Wire> parse_wire(std::string_view name);

size_t wire_bytes(Wire wire, size_t values);
size_t wire_piece_values(Wire wire);  // most values, in whole groups, that one message holds

// `out` has wire_bytes(wire, values.size()) bytes. Not a number stays so (in q8: its whole group).
void encode(Wire wire, std::span<const float> values, std::byte* out);
void decode(Wire wire, const std::byte* from, std::span<float> values);

// sums[i] = (parts[0][i] + parts[1][i]) + parts[2][i] ...: the order is the caller's, so the bits are. A part may be the
// encoding's own memory of `sums` (kF32, same place).
void add_parts(Wire wire, std::span<const std::byte* const> parts, std::span<float> sums);

}  // namespace cohort::transport
