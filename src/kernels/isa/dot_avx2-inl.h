// Pairs of products in 16 bits, which hold the sums of a few before they must be widened.

inline constexpr int kQuadsAtOnce = 8;
inline constexpr int kByteOffset = 0;
inline constexpr int kDotRowsOfPairs = 16;

inline __m256i add_pairs(__m256i total, __m256i pairs) {
  return _mm256_add_epi32(total, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

// Eight-bit codes overflow 16 bits: even and odd bytes are widened and multiplied apart.
template <int kCount>
inline U32 dot_bytes(U32 start, const U32* quads, const int8_t* x) {
  __m256i total = start.v;
  COHORT_UNROLL for (int i = 0; i < kCount; ++i) {
    const __m256i quad = broadcast_quad(x + 4 * i);
    const __m256i even = _mm256_srai_epi16(_mm256_slli_epi16(quad, 8), 8);
    const __m256i odd = _mm256_srai_epi16(quad, 8);
    const __m256i low = _mm256_and_si256(quads[i].v, _mm256_set1_epi16(0xff));
    total = _mm256_add_epi32(total, _mm256_madd_epi16(low, even));
    total = _mm256_add_epi32(total, _mm256_madd_epi16(_mm256_srli_epi16(quads[i].v, 8), odd));
  }
  return {total};
}

template <int kCount, int kMaxCode>
inline U32 dot_quads(U32 start, const U32* quads, const int8_t* x) {
  if constexpr (kMaxCode > 127) return dot_bytes<kCount>(start, quads, x);
  constexpr int kBeforeWidening = 32767 / (2 * 127 * kMaxCode);
  __m256i total = start.v;
  COHORT_UNROLL for (int first = 0; first < kCount; first += kBeforeWidening) {
    __m256i pairs = _mm256_maddubs_epi16(quads[first].v, broadcast_quad(x + 4 * first));
    for (int i = first + 1; i < first + kBeforeWidening && i < kCount; ++i) {
      pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(quads[i].v, broadcast_quad(x + 4 * i)));
    }
    total = add_pairs(total, pairs);
  }
  return {total};
}

template <int kCount>
inline U32 dot_weights(const U32* quads, const uint8_t* w) {
  __m256i total = _mm256_setzero_si256();
  COHORT_UNROLL for (int i = 0; i < kCount; ++i) {
    const __m256i quad = broadcast_quad(w + 4 * i);
    const __m256i even = _mm256_srai_epi16(_mm256_slli_epi16(quads[i].v, 8), 8);
    const __m256i odd = _mm256_srai_epi16(quads[i].v, 8);
    const __m256i low = _mm256_and_si256(quad, _mm256_set1_epi16(0xff));
    total = _mm256_add_epi32(total, _mm256_madd_epi16(even, low));
    total = _mm256_add_epi32(total, _mm256_madd_epi16(odd, _mm256_srli_epi16(quad, 8)));
  }
  return {total};
}
