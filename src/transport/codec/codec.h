// The loops of wire.h over whole groups, one table per instruction set. All tables give the same bits, so ranks with
// different processors agree, and a table may be chosen by speed alone.
#pragma once

#include <cstddef>
#include <span>

#include "transport/wire.h"

namespace cohort::transport {

inline constexpr size_t kWires = 3;

using EncodeGroups = void(const float* values, size_t groups, std::byte* out);
// As add_parts() of wire.h, of `part_count` >= 1 parts; one part is decoding.
using AddGroups = void(const std::byte* const* parts, size_t part_count, size_t groups,
                       float* sums);

struct Codec {
  const char* name;  // "avx512"
  EncodeGroups* encode[kWires];
  AddGroups* add[kWires];  // both by Wire
};

// Those this CPU runs, slowest ("plain", always there) first. The tables live as long as the process.
std::span<const Codec* const> available_codecs();

inline const Codec& best_codec() { return *available_codecs().back(); }

}  // namespace cohort::transport
