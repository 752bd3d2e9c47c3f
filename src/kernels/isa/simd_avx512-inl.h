// Sixteen lanes; see simd_scalar-inl.h for what each function does.

struct F32 {
  __m512 v;
};
inline constexpr int kLanes = 16;

inline __mmask16 lane_mask(int n) { return static_cast<__mmask16>((1u << n) - 1); }
inline __m512 widen_bf16(__m256i bits) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}
inline __m256i narrow_bf16(__m512 a) {
  const __m512i bits = _mm512_castps_si512(a);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __mmask16 nan = _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q);
  const __m512i quiet = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x400000));
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(quiet, 16));
}

inline F32 broadcast(float x) { return {_mm512_set1_ps(x)}; }
inline F32 zero() { return {_mm512_setzero_ps()}; }
inline F32 load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline F32 load_bf16(const uint16_t* p) {
  return {widen_bf16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
inline F32 load_f16(const uint16_t* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
inline F32 load_i8(const int8_t* p) {
  return {_mm512_cvtepi32_ps(
      _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))};
}
inline void store(float* p, F32 a) { _mm512_storeu_ps(p, a.v); }
inline void store_bf16(uint16_t* p, F32 a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow_bf16(a.v));
}
inline void store_f16(uint16_t* p, F32 a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT));
}

inline F32 load_part(const float* p, int n) { return {_mm512_maskz_loadu_ps(lane_mask(n), p)}; }
inline F32 load_bf16_part(const uint16_t* p, int n) {
  return {widen_bf16(_mm256_maskz_loadu_epi16(lane_mask(n), p))};
}
inline F32 load_f16_part(const uint16_t* p, int n) {
  return {_mm512_cvtph_ps(_mm256_maskz_loadu_epi16(lane_mask(n), p))};
}
inline F32 load_i8_part(const int8_t* p, int n) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(lane_mask(n), p)))};
}
inline void store_part(float* p, F32 a, int n) { _mm512_mask_storeu_ps(p, lane_mask(n), a.v); }
inline void store_bf16_part(uint16_t* p, F32 a, int n) {
  _mm256_mask_storeu_epi16(p, lane_mask(n), narrow_bf16(a.v));
}
inline void store_f16_part(uint16_t* p, F32 a, int n) {
  _mm256_mask_storeu_epi16(p, lane_mask(n), _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT));
}

inline F32 operator+(F32 a, F32 b) { return {_mm512_add_ps(a.v, b.v)}; }
inline F32 operator-(F32 a, F32 b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline F32 operator*(F32 a, F32 b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline F32 operator/(F32 a, F32 b) { return {_mm512_div_ps(a.v, b.v)}; }
inline F32 fma(F32 a, F32 b, F32 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline F32 max(F32 a, F32 b) { return {_mm512_max_ps(a.v, b.v)}; }
inline F32 min(F32 a, F32 b) { return {_mm512_min_ps(a.v, b.v)}; }
inline F32 abs(F32 a) { return {_mm512_abs_ps(a.v)}; }
inline F32 sqrt(F32 a) { return {_mm512_sqrt_ps(a.v)}; }
inline F32 round(F32 a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
inline F32 exp2i(F32 a) { return {_mm512_scalef_ps(_mm512_set1_ps(1.0f), a.v)}; }
inline F32 fraction(F32 a) {
  return {_mm512_reduce_ps(a.v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)};
}
inline F32 times_exp2(F32 p, F32 a) { return {_mm512_scalef_ps(p.v, a.v)}; }
inline F32 select_less(F32 a, F32 b, F32 x, F32 y) {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), y.v, x.v)};
}
inline float sum(F32 a) { return _mm512_reduce_add_ps(a.v); }
inline float maximum(F32 a) { return _mm512_reduce_max_ps(a.v); }

// words[i][k] becomes words[k][i].
inline void transpose_words(__m512i (&words)[kLanes]) {
  const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  const __m512i other = _mm512_set1_epi32(kLanes);  // selects the second operand
  COHORT_UNROLL for (int step = kLanes / 2; step > 0; step /= 2) {
    const __m512i by = _mm512_set1_epi32(step);
    const __mmask16 upper = _mm512_test_epi32_mask(lanes, by);
    const __m512i down = _mm512_sub_epi32(lanes, by), up = _mm512_add_epi32(lanes, by);
    const __m512i first = _mm512_mask_add_epi32(lanes, upper, down, other);
    const __m512i second = _mm512_mask_add_epi32(up, upper, lanes, other);
    COHORT_UNROLL for (int i = 0; i < kLanes; ++i) {
      if ((i & step) != 0) continue;
      const __m512i a = words[i], b = words[i + step];
      words[i] = _mm512_permutex2var_epi32(a, first, b);
      words[i + step] = _mm512_permutex2var_epi32(a, second, b);
    }
  }
}

template <class Join>
inline F32 join_each(const F32 (&rows)[kLanes], Join join) {
  __m512i words[kLanes];
  COHORT_UNROLL for (int i = 0; i < kLanes; ++i) words[i] = _mm512_castps_si512(rows[i].v);
  transpose_words(words);
  F32 joined[kLanes];
  COHORT_UNROLL for (int i = 0; i < kLanes; ++i) joined[i] = {_mm512_castsi512_ps(words[i])};
  COHORT_UNROLL for (int step = kLanes / 2; step > 0; step /= 2) {
    COHORT_UNROLL for (int i = 0; i < step; ++i) joined[i] = join(joined[i], joined[i + step]);
  }
  return joined[0];
}
inline F32 each_sum(const F32 (&rows)[kLanes]) {
  return join_each(rows, [](F32 a, F32 b) { return a + b; });
}
inline F32 each_maximum(const F32 (&rows)[kLanes]) {
  return join_each(rows, [](F32 a, F32 b) { return max(a, b); });
}

struct U32 {
  __m512i v;
};

inline U32 splat(uint32_t x) { return {_mm512_set1_epi32(static_cast<int>(x))}; }
inline U32 load_u32(const std::byte* p) { return {_mm512_loadu_si512(p)}; }
inline U32 load_u8(const std::byte* p) {
  return {_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
inline U32 operator&(U32 a, U32 b) { return {_mm512_and_si512(a.v, b.v)}; }
inline U32 operator|(U32 a, U32 b) { return {_mm512_or_si512(a.v, b.v)}; }
inline U32 operator^(U32 a, U32 b) { return {_mm512_xor_si512(a.v, b.v)}; }
template <int kBits>
inline U32 shift_left(U32 a) {
  return {_mm512_slli_epi32(a.v, kBits)};
}
template <int kBits>
inline U32 shift_right(U32 a) {
  return {_mm512_srli_epi32(a.v, kBits)};
}
template <int kBits>
inline U32 shift_right_signed(U32 a) {
  return {_mm512_srai_epi32(a.v, kBits)};
}
inline F32 to_f32(U32 a) { return {_mm512_cvtepi32_ps(a.v)}; }
inline F32 as_f32(U32 a) { return {_mm512_castsi512_ps(a.v)}; }
inline U32 as_u32(F32 a) { return {_mm512_castps_si512(a.v)}; }
inline U32 lookup(U32 a, const uint8_t (&table)[16]) {
  const __m128i row = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
  return {_mm512_shuffle_epi8(_mm512_broadcast_i32x4(row), a.v)};
}
inline void store_i8(int8_t* p, F32 a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(a.v)));
}

inline void store_u8(uint8_t* p, F32 a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(a.v)));
}

// The four bytes at `x`, in every lane.
inline __m512i broadcast_quad(const void* x) {
  int32_t word;
  std::memcpy(&word, x, sizeof(word));
  return _mm512_set1_epi32(word);
}

// Rows and 16-column panels of a product that fit the registers together (gemm-inl.h).
inline constexpr int kTileRows = 12;
inline constexpr int kTilePanels = 2;
// The same of a product in 8 bits (gemm_i8-inl.h).
inline constexpr int kByteRows = 6;
inline constexpr int kBytePanels = 4;
