// The vector type that *-inl.h files are written over, of one lane. Every instruction set offers these same functions.
//
//   load(p) store(p, v)            unaligned; p float*
//   load_part(p, n) store_part     the first n lanes, 0 <= n <= kLanes; the others read as 0 and are not touched
//   load_bf16 load_f16 load_i8     widened exactly (p uint16_t*, uint16_t*, int8_t*); _part as above
//   store_bf16 store_f16           to nearest, ties to even
//   fma(a, b, c) = a * b + c       rounded once where the hardware can
//   round(v)                       to nearest integer, ties to even
//   exp2i(v) = 2^v                 for integers v in [-126, 127]
//   fraction(v) = v - floor(v)     0 of -infinity
//   times_exp2(p, v)               p * 2^floor(v), v below 128; 0 where that is less than 2^-126 p
//   sum(v) maximum(v)              over lanes
//   each_sum(rows) each_maximum    lane i of the result is sum(rows[i]), maximum(rows[i]), of kLanes rows
//   select_less(a, b, x, y)        a < b ? x : y, by lane

struct F32 {
  float v;
};
inline constexpr int kLanes = 1;

inline F32 broadcast(float x) { return {x}; }
inline F32 zero() { return {0.0f}; }
inline F32 load(const float* p) { return {*p}; }
inline F32 load_bf16(const uint16_t* p) { return {bf16_to_float(*p)}; }
inline F32 load_f16(const uint16_t* p) { return {f16_to_float(*p)}; }
inline F32 load_i8(const int8_t* p) { return {static_cast<float>(*p)}; }
inline void store(float* p, F32 a) { *p = a.v; }
inline void store_bf16(uint16_t* p, F32 a) { *p = float_to_bf16(a.v); }
inline void store_f16(uint16_t* p, F32 a) { *p = float_to_f16(a.v); }

inline F32 load_part(const float* p, int n) { return n > 0 ? load(p) : zero(); }
inline F32 load_bf16_part(const uint16_t* p, int n) { return n > 0 ? load_bf16(p) : zero(); }
inline F32 load_f16_part(const uint16_t* p, int n) { return n > 0 ? load_f16(p) : zero(); }
inline F32 load_i8_part(const int8_t* p, int n) { return n > 0 ? load_i8(p) : zero(); }
inline void store_part(float* p, F32 a, int n) {
  if (n > 0) store(p, a);
}
inline void store_bf16_part(uint16_t* p, F32 a, int n) {
  if (n > 0) store_bf16(p, a);
}
inline void store_f16_part(uint16_t* p, F32 a, int n) {
  if (n > 0) store_f16(p, a);
}

inline F32 operator+(F32 a, F32 b) { return {a.v + b.v}; }
inline F32 operator-(F32 a, F32 b) { return {a.v - b.v}; }
inline F32 operator*(F32 a, F32 b) { return {a.v * b.v}; }
inline F32 operator/(F32 a, F32 b) { return {a.v / b.v}; }
inline F32 fma(F32 a, F32 b, F32 c) { return {a.v * b.v + c.v}; }
inline F32 max(F32 a, F32 b) { return {a.v > b.v ? a.v : b.v}; }
inline F32 min(F32 a, F32 b) { return {a.v < b.v ? a.v : b.v}; }
inline F32 abs(F32 a) { return {__builtin_fabsf(a.v)}; }
inline F32 sqrt(F32 a) { return {__builtin_sqrtf(a.v)}; }
inline F32 round(F32 a) { return {__builtin_nearbyintf(a.v)}; }
inline F32 exp2i(F32 a) {
  return {__builtin_bit_cast(float, static_cast<uint32_t>(static_cast<int32_t>(a.v) + 127) << 23)};
}
inline F32 floor(F32 a) { return {__builtin_floorf(a.v)}; }
inline F32 select_less(F32 a, F32 b, F32 x, F32 y) { return {a.v < b.v ? x.v : y.v}; }
inline float sum(F32 a) { return a.v; }
inline float maximum(F32 a) { return a.v; }

#include "kernels/isa/simd_plain-inl.h"

// Integers, for packed weights: U32 is kLanes 32-bit words, of which some functions see the four bytes.
//
//   load_u32(p)                    unaligned; p std::byte*
//   load_u8(p)                     kLanes bytes, widened
//   shift_left<n> shift_right<n>   by word
//   shift_right_signed<n>          copies of the highest bit come in
//   to_f32(a)                      of signed integers
//   as_f32(a)                      the bits
//   lookup(a, table)               each byte b, 0..15, becomes table[b]
//   store_i8(p, v) store_u8(p, v)  v holds integers in [-127, 127], in [0, 255]
// and in dot_*-inl.h
//   kDotRowsOfPairs                so many rows of activations and more take two panels side by side
//   dot_quads<kCount, kMaxCode>(start, quads, x)   start + the sum over i < kCount, b < 4 of byte b of quads[i] times
//                                  x[4 i + b] (int8_t). Codes are 0..kMaxCode when that is below 128. Eight-bit codes are
//                                  code - kByteOffset instead: 0 or 128 by what the instructions multiply.
//   dot_weights<kCount>(quads, w)                  the sum of byte b of quads[i], signed, times w[4 i + b] (0..254)
//   kQuadsAtOnce                   quads of a call before another row's turn: few where each is one instruction, so that
//                                  the rows' chains go side by side

struct U32 {
  uint32_t v;
};

inline U32 splat(uint32_t x) { return {x}; }
inline U32 load_u32(const std::byte* p) {
  U32 a;
  std::memcpy(&a.v, p, sizeof(a.v));
  return a;
}
inline U32 load_u8(const std::byte* p) { return {static_cast<uint32_t>(*p)}; }
inline U32 operator&(U32 a, U32 b) { return {a.v & b.v}; }
inline U32 operator|(U32 a, U32 b) { return {a.v | b.v}; }
inline U32 operator^(U32 a, U32 b) { return {a.v ^ b.v}; }
template <int kBits>
inline U32 shift_left(U32 a) {
  return {a.v << kBits};
}
template <int kBits>
inline U32 shift_right(U32 a) {
  return {a.v >> kBits};
}
template <int kBits>
inline U32 shift_right_signed(U32 a) {
  return {static_cast<uint32_t>(static_cast<int32_t>(a.v) >> kBits)};
}
inline F32 to_f32(U32 a) { return {static_cast<float>(static_cast<int32_t>(a.v))}; }
inline F32 as_f32(U32 a) { return {__builtin_bit_cast(float, a.v)}; }
inline U32 as_u32(F32 a) { return {__builtin_bit_cast(uint32_t, a.v)}; }
inline U32 lookup(U32 a, const uint8_t (&table)[16]) {
  uint32_t found = 0;
  for (int shift = 0; shift < 32; shift += 8)
    found |= static_cast<uint32_t>(table[a.v >> shift & 15]) << shift;
  return {found};
}
inline void store_i8(int8_t* p, F32 a) { *p = static_cast<int8_t>(a.v); }
inline void store_u8(uint8_t* p, F32 a) { *p = static_cast<uint8_t>(a.v); }

// Rows and 16-column panels of a product that fit the registers together (gemm-inl.h).
inline constexpr int kTileRows = 4;
inline constexpr int kTilePanels = 1;
