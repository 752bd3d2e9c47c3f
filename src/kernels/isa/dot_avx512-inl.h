// AVX-512 without VNNI: pairs of products in 16 bits, which hold the sums of a few before they must be widened.

inline constexpr int kQuadsAtOnce = 8;
inline constexpr int kByteOffset = 0;
inline constexpr int kDotRowsOfPairs = 16;

inline __m512i add_pairs(__m512i total, __m512i pairs) {
  return _mm512_add_epi32(total, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
}

// Eight-bit codes overflow 16 bits: even and odd bytes are widened and multiplied apart.
template <int kCount>
inline U32 dot_bytes(U32 start, const U32* quads, const int8_t* x) {
  __m512i total = start.v;
  COHORT_UNROLL for (int i = 0; i < kCount; ++i) {
    const __m512i quad = broadcast_quad(x + 4 * i);
    const __m512i even = _mm512_srai_epi16(_mm512_slli_epi16(quad, 8), 8);
    const __m512i odd = _mm512_srai_epi16(quad, 8);
    const __m512i low = _mm512_and_si512(quads[i].v, _mm512_set1_epi16(0xff));
    total = _mm512_add_epi32(total, _mm512_madd_epi16(low, even));
    total = _mm512_add_epi32(total, _mm512_madd_epi16(_mm512_srli_epi16(quads[i].v, 8), odd));
  }
  return {total};
}

template <int kCount, int kMaxCode>
inline U32 dot_quads(U32 start, const U32* quads, const int8_t* x) {
  if constexpr (kMaxCode > 127) return dot_bytes<kCount>(start, quads, x);
  constexpr int kBeforeWidening = 32767 / (2 * 127 * kMaxCode);
  __m512i total = start.v;
  COHORT_UNROLL for (int first = 0; first < kCount; first += kBeforeWidening) {
    __m512i pairs = _mm512_maddubs_epi16(quads[first].v, broadcast_quad(x + 4 * first));
    for (int i = first + 1; i < first + kBeforeWidening && i < kCount; ++i) {
      pairs = _mm512_add_epi16(pairs, _mm512_maddubs_epi16(quads[i].v, broadcast_quad(x + 4 * i)));
    }
    total = add_pairs(total, pairs);
  }
  return {total};
}

template <int kCount>
inline U32 dot_weights(const U32* quads, const uint8_t* w) {
  __m512i total = _mm512_setzero_si512();
  COHORT_UNROLL for (int i = 0; i < kCount; ++i) {
    const __m512i quad = broadcast_quad(w + 4 * i);
    const __m512i even = _mm512_srai_epi16(_mm512_slli_epi16(quads[i].v, 8), 8);
    const __m512i odd = _mm512_srai_epi16(quads[i].v, 8);
    const __m512i low = _mm512_and_si512(quad, _mm512_set1_epi16(0xff));
    total = _mm512_add_epi32(total, _mm512_madd_epi16(even, low));
    total = _mm512_add_epi32(total, _mm512_madd_epi16(odd, _mm512_srli_epi16(quad, 8)));
  }
  return {total};
}
