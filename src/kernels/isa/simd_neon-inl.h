// Four lanes; see simd_scalar-inl.h for what each function does.

struct F32 {
  float32x4_t v;
};
inline constexpr int kLanes = 4;

inline float32x4_t widen_bf16(uint16x4_t bits) {
  return vreinterpretq_f32_u32(vshll_n_u16(bits, 16));
}
inline uint16x4_t narrow_bf16(float32x4_t a) {
  const uint32x4_t bits = vreinterpretq_u32_f32(a);
  const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
  const uint32x4_t rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
  const uint32x4_t quiet = vorrq_u32(bits, vdupq_n_u32(0x400000));
  return vshrn_n_u32(vbslq_u32(vceqq_f32(a, a), rounded, quiet), 16);
}

inline F32 broadcast(float x) { return {vdupq_n_f32(x)}; }
inline F32 zero() { return {vdupq_n_f32(0.0f)}; }
inline F32 load(const float* p) { return {vld1q_f32(p)}; }
inline F32 load_bf16(const uint16_t* p) { return {widen_bf16(vld1_u16(p))}; }
inline F32 load_f16(const uint16_t* p) { return {vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)))}; }
inline F32 load_i8(const int8_t* p) {
  int32_t four_bytes;
  __builtin_memcpy(&four_bytes, p, sizeof(four_bytes));
  const int8x8_t bytes = vreinterpret_s8_s32(vdup_n_s32(four_bytes));
  return {vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(bytes))))};
}
inline void store(float* p, F32 a) { vst1q_f32(p, a.v); }
inline void store_bf16(uint16_t* p, F32 a) { vst1_u16(p, narrow_bf16(a.v)); }
inline void store_f16(uint16_t* p, F32 a) { vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(a.v))); }

inline F32 load_part(const float* p, int n) {
  float lanes[kLanes] = {};
  for (int i = 0; i < n; ++i) lanes[i] = p[i];
  return load(lanes);
}
inline F32 load_bf16_part(const uint16_t* p, int n) {
  uint16_t lanes[kLanes] = {};
  for (int i = 0; i < n; ++i) lanes[i] = p[i];
  return load_bf16(lanes);
}
inline F32 load_f16_part(const uint16_t* p, int n) {
  uint16_t lanes[kLanes] = {};
  for (int i = 0; i < n; ++i) lanes[i] = p[i];
  return load_f16(lanes);
}
inline F32 load_i8_part(const int8_t* p, int n) {
  int8_t lanes[kLanes] = {};
  for (int i = 0; i < n; ++i) lanes[i] = p[i];
  return load_i8(lanes);
}
inline void store_part(float* p, F32 a, int n) {
  float lanes[kLanes];
  store(lanes, a);
  for (int i = 0; i < n; ++i) p[i] = lanes[i];
}
inline void store_bf16_part(uint16_t* p, F32 a, int n) {
  uint16_t lanes[kLanes];
  store_bf16(lanes, a);
  for (int i = 0; i < n; ++i) p[i] = lanes[i];
}
inline void store_f16_part(uint16_t* p, F32 a, int n) {
  uint16_t lanes[kLanes];
  store_f16(lanes, a);
  for (int i = 0; i < n; ++i) p[i] = lanes[i];
}

inline F32 operator+(F32 a, F32 b) { return {vaddq_f32(a.v, b.v)}; }
inline F32 operator-(F32 a, F32 b) { return {vsubq_f32(a.v, b.v)}; }
inline F32 operator*(F32 a, F32 b) { return {vmulq_f32(a.v, b.v)}; }
inline F32 operator/(F32 a, F32 b) { return {vdivq_f32(a.v, b.v)}; }
inline F32 fma(F32 a, F32 b, F32 c) { return {vfmaq_f32(c.v, a.v, b.v)}; }
inline F32 max(F32 a, F32 b) { return {vmaxq_f32(a.v, b.v)}; }
inline F32 min(F32 a, F32 b) { return {vminq_f32(a.v, b.v)}; }
inline F32 abs(F32 a) { return {vabsq_f32(a.v)}; }
inline F32 sqrt(F32 a) { return {vsqrtq_f32(a.v)}; }
inline F32 round(F32 a) { return {vrndnq_f32(a.v)}; }
inline F32 exp2i(F32 a) {
  return {vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(a.v), vdupq_n_s32(127)), 23))};
}
inline F32 floor(F32 a) { return {vrndmq_f32(a.v)}; }
inline F32 select_less(F32 a, F32 b, F32 x, F32 y) {
  return {vbslq_f32(vcltq_f32(a.v, b.v), x.v, y.v)};
}
inline float sum(F32 a) { return vaddvq_f32(a.v); }
inline float maximum(F32 a) { return vmaxvq_f32(a.v); }

#include "kernels/isa/simd_plain-inl.h"

struct U32 {
  uint32x4_t v;
};

inline U32 splat(uint32_t x) { return {vdupq_n_u32(x)}; }
inline U32 load_u32(const std::byte* p) {
  return {vreinterpretq_u32_u8(vld1q_u8(reinterpret_cast<const uint8_t*>(p)))};
}
inline U32 load_u8(const std::byte* p) {
  uint32_t four_bytes;
  std::memcpy(&four_bytes, p, sizeof(four_bytes));
  return {vmovl_u16(vget_low_u16(vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(four_bytes)))))};
}
inline U32 operator&(U32 a, U32 b) { return {vandq_u32(a.v, b.v)}; }
inline U32 operator|(U32 a, U32 b) { return {vorrq_u32(a.v, b.v)}; }
inline U32 operator^(U32 a, U32 b) { return {veorq_u32(a.v, b.v)}; }
template <int kBits>
inline U32 shift_left(U32 a) {
  return {vshlq_n_u32(a.v, kBits)};
}
template <int kBits>
inline U32 shift_right(U32 a) {
  if constexpr (kBits == 0)
    return a;
  else
    return {vshrq_n_u32(a.v, kBits)};
}
template <int kBits>
inline U32 shift_right_signed(U32 a) {
  return {vreinterpretq_u32_s32(vshrq_n_s32(vreinterpretq_s32_u32(a.v), kBits))};
}
inline F32 to_f32(U32 a) { return {vcvtq_f32_s32(vreinterpretq_s32_u32(a.v))}; }
inline F32 as_f32(U32 a) { return {vreinterpretq_f32_u32(a.v)}; }
inline U32 as_u32(F32 a) { return {vreinterpretq_u32_f32(a.v)}; }
inline U32 lookup(U32 a, const uint8_t (&table)[16]) {
  return {vreinterpretq_u32_u8(vqtbl1q_u8(vld1q_u8(table), vreinterpretq_u8_u32(a.v)))};
}
inline void store_i8(int8_t* p, F32 a) {
  const int16x4_t halves = vmovn_s32(vcvtq_s32_f32(a.v));
  const int8x8_t bytes = vmovn_s16(vcombine_s16(halves, halves));
  const int32_t four_bytes = vget_lane_s32(vreinterpret_s32_s8(bytes), 0);
  std::memcpy(p, &four_bytes, sizeof(four_bytes));
}

inline void store_u8(uint8_t* p, F32 a) {
  const int16x4_t halves = vmovn_s32(vcvtq_s32_f32(a.v));
  const uint8x8_t bytes = vqmovun_s16(vcombine_s16(halves, halves));
  const uint32_t four_bytes = vget_lane_u32(vreinterpret_u32_u8(bytes), 0);
  std::memcpy(p, &four_bytes, sizeof(four_bytes));
}

// The four bytes at `x`, in every lane.
inline int8x16_t broadcast_quad(const void* x) {
  int32_t word;
  std::memcpy(&word, x, sizeof(word));
  return vreinterpretq_s8_s32(vdupq_n_s32(word));
}

// Rows and 16-column panels of a product that fit the registers together (gemm-inl.h).
inline constexpr int kTileRows = 6;
inline constexpr int kTilePanels = 1;
// The same of a product in 8 bits (gemm_i8-inl.h).
inline constexpr int kByteRows = 6;
inline constexpr int kBytePanels = 1;
