// Little-endian loads and stores, hexadecimal, sizes as people write them, and arithmetic that reports overflow.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace cohort {

static_assert(std::endian::native == std::endian::little, "cohort runs on little-endian machines");

template <class T>
requires std::is_trivially_copyable_v<T> T load(const void* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

template <class T>
requires std::is_trivially_copyable_v<T>
void store(void* to, T value) { std::memcpy(to, &value, sizeof(T)); }

// nullopt when the result does not fit.
template <std::unsigned_integral T>
std::optional<T> checked_add(T a, T b) {
  T sum;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}
template <std::unsigned_integral T>
std::optional<T> checked_multiply(T a, T b) {
  T product;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

template <std::integral T>
constexpr T divide_up(T value, T by) {
  return (value + by - 1) / by;
}
template <std::integral T>
constexpr T round_up(T value, T to) {
  return divide_up(value, to) * to;
}

// Two lower-case digits a byte. nullopt: not such a text.
std::string to_hex(std::string_view bytes);
std::optional<std::string> from_hex(std::string_view text);

// "1.5 GiB", "640 KiB", "12 B".
std::string format_bytes(uint64_t size_bytes);

// "8GiB", "512 MB", "1.5g", "4096": powers of 1024 for KiB/K.., of 1000 for KB...
Result<uint64_t> parse_bytes(std::string_view text);

}  // namespace cohort
