// AArch64 with dot products of signed bytes.

inline constexpr int kQuadsAtOnce = 1;
inline constexpr int kByteOffset = 128;
inline constexpr int kDotRowsOfPairs = 16;

template <int kCount, int kMaxCode>
inline U32 dot_quads(U32 start, const U32* quads, const int8_t* x) {
  int32x4_t total = vreinterpretq_s32_u32(start.v);
  COHORT_UNROLL for (int i = 0; i < kCount; ++i) {
    total = vdotq_s32(total, vreinterpretq_s8_u32(quads[i].v), broadcast_quad(x + 4 * i));
  }
  return {vreinterpretq_u32_s32(total)};
}

#include "kernels/isa/weights_of_signed_dots-inl.h"
