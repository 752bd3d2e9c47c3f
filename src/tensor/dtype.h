// Element types of checkpoints, and exact conversions of single values to and from float.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace cohort {

enum class DType : uint8_t {
  kF32,
  kF16,
  kBF16,
  kF64,
  kF8E4M3,
  kF8E5M2,
  kF8E8M0,
  kU8,
  kI8,
  kBool,
  kU16,
  kI16,
  kU32,
  kI32,
  kU64,
  kI64
};

size_t dtype_size(DType type);            // bytes of one element
std::string_view dtype_name(DType type);  // as in safetensors: "BF16", "F8_E4M3"
std::optional<DType> parse_dtype(std::string_view name);

inline float bf16_to_float(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}
uint16_t float_to_bf16(float value);  // to nearest, ties to even; NaN stays NaN
float f16_to_float(uint16_t bits);
uint16_t float_to_f16(float value);    // to nearest, ties to even; overflow to infinity
float f8_e4m3_to_float(uint8_t bits);  // OCP FP8 E4M3 (FN): no infinities, 0x7f and 0xff are NaN
float f8_e5m2_to_float(uint8_t bits);
inline float f8_e8m0_to_float(uint8_t bits) {  // 2^(bits - 127); 0 -> 2^-127
  return bits == 0 ? 0x1p-127f : std::bit_cast<float>(static_cast<uint32_t>(bits) << 23);
}
inline constexpr float kE2M1[16] = {
    0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
    -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};  // fp4, by code

}  // namespace cohort
