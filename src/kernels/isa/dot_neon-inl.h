// AArch64 without dot products (Cortex-A72): products of signed bytes in 16 bits, added in pairs.

inline constexpr int kQuadsAtOnce = 1;
inline constexpr int kByteOffset = 128;
inline constexpr int kDotRowsOfPairs = 16;

template <int kCount, int kMaxCode>
inline U32 dot_quads(U32 start, const U32* quads, const int8_t* x) {
  int32x4_t total = vreinterpretq_s32_u32(start.v);
  COHORT_UNROLL for (int i = 0; i < kCount; ++i) {
    const int8x16_t codes = vreinterpretq_s8_u32(quads[i].v);
    const int8x16_t quad = broadcast_quad(x + 4 * i);
    const int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(codes), vget_low_s8(quad)));
    const int32x4_t high = vpaddlq_s16(vmull_high_s8(codes, quad));
    total = vaddq_s32(total, vpaddq_s32(low, high));
  }
  return {vreinterpretq_u32_s32(total)};
}

#include "kernels/isa/weights_of_signed_dots-inl.h"
