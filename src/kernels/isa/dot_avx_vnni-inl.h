// AVX-VNNI: four products and their sum in one instruction, on AVX2's registers.

inline constexpr int kQuadsAtOnce = 1;
inline constexpr int kByteOffset = 0;
inline constexpr int kDotRowsOfPairs = 16;

template <int kCount, int kMaxCode>
inline U32 dot_quads(U32 start, const U32* quads, const int8_t* x) {
  __m256i total = start.v;
  COHORT_UNROLL for (int i = 0; i < kCount; ++i) {
    total = _mm256_dpbusd_avx_epi32(total, quads[i].v, broadcast_quad(x + 4 * i));
  }
  return {total};
}

template <int kCount>
inline U32 dot_weights(const U32* quads, const uint8_t* w) {
  __m256i total = _mm256_setzero_si256();
  COHORT_UNROLL for (int i = 0; i < kCount; ++i) {
    total = _mm256_dpbusd_avx_epi32(total, broadcast_quad(w + 4 * i), quads[i].v);
  }
  return {total};
}
