#include <arm_neon.h>

#include <cstring>

#include "transport/codec/isa/isa.h"

namespace cohort::transport::codec {
namespace {

using Vector = float32x4_t;
constexpr size_t kLanes = 4;

// By bytes, since parts may lie at any address.
inline Vector load(const std::byte* from) {
  return vreinterpretq_f32_u8(vld1q_u8(reinterpret_cast<const uint8_t*>(from)));
}
inline void store(float* to, Vector values) { vst1q_f32(to, values); }
inline Vector add(Vector a, Vector b) { return vaddq_f32(a, b); }

inline uint32_t largest(const Vector (&values)[8]) {
  uint32x4_t most = vdupq_n_u32(0);
  for (const Vector& value : values) {
    most = vmaxq_u32(most, vandq_u32(vreinterpretq_u32_f32(value), vdupq_n_u32(0x7fffffff)));
  }
  return vmaxvq_u32(most);
}

inline uint16x4_t halves_of(Vector values) {
  const uint32x4_t bits = vreinterpretq_u32_f32(values);
  const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
  const uint16x4_t rounded = vshrn_n_u32(vaddq_u32(vaddq_u32(bits, vdupq_n_u32(0x7fff)), odd), 16);
  const uint16x4_t quiet = vorr_u16(vshrn_n_u32(bits, 16), vdup_n_u16(0x40));
  const uint16x4_t is_number = vmovn_u32(vceqq_f32(values, values));
  return vbsl_u16(is_number, rounded, quiet);
}

inline void pack_halves(const Vector (&values)[8], std::byte* out) {
  for (int i = 0; i < 4; ++i) {
    const uint16x8_t halves = vcombine_u16(halves_of(values[2 * i]), halves_of(values[2 * i + 1]));
    vst1q_u8(reinterpret_cast<uint8_t*>(out) + i * 16, vreinterpretq_u8_u16(halves));
  }
}

inline void unpack_halves(const std::byte* from, Vector (&values)[8]) {
  for (int i = 0; i < 4; ++i) {
    const uint16x8_t halves =
        vreinterpretq_u16_u8(vld1q_u8(reinterpret_cast<const uint8_t*>(from) + i * 16));
    values[2 * i] = vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(halves), 16));
    values[2 * i + 1] = vreinterpretq_f32_u32(vshll_n_u16(vget_high_u16(halves), 16));
  }
}

inline void pack_codes(const Vector (&values)[8], float inverse, std::byte* out) {
  const auto four = [&](int i) {
    return vmovn_s32(vcvtnq_s32_f32(vmulq_n_f32(values[i], inverse)));
  };
  for (int i = 0; i < 4; ++i) {
    const int16x8_t codes = vcombine_s16(four(2 * i), four(2 * i + 1));
    vst1_s8(reinterpret_cast<int8_t*>(out) + i * 8, vmovn_s16(codes));
  }
}

inline void unpack_codes(const std::byte* from, float scale, Vector (&values)[8]) {
  for (int i = 0; i < 4; ++i) {
    const int16x8_t codes = vmovl_s8(vld1_s8(reinterpret_cast<const int8_t*>(from) + i * 8));
    values[2 * i] = vmulq_n_f32(vcvtq_f32_s32(vmovl_s16(vget_low_s16(codes))), scale);
    values[2 * i + 1] = vmulq_n_f32(vcvtq_f32_s32(vmovl_s16(vget_high_s16(codes))), scale);
  }
}

#include "transport/codec/codec-inl.h"

}  // namespace

const Codec kNeon = make_codec("neon");

}  // namespace cohort::transport::codec
