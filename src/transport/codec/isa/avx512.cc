#include <immintrin.h>

#include <cstring>

#include "transport/codec/isa/isa.h"

namespace cohort::transport::codec {
namespace {

using Vector = __m512;
constexpr size_t kLanes = 16;

inline Vector load(const std::byte* from) { return _mm512_loadu_ps(from); }
inline void store(float* to, Vector values) { _mm512_storeu_ps(to, values); }
inline Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }

inline uint32_t largest(const Vector (&values)[2]) {
  const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
  const __m512i a = _mm512_and_si512(_mm512_castps_si512(values[0]), magnitude);
  const __m512i b = _mm512_and_si512(_mm512_castps_si512(values[1]), magnitude);
  return static_cast<uint32_t>(_mm512_reduce_max_epi32(_mm512_max_epi32(a, b)));
}

inline void pack_halves(const Vector (&values)[2], std::byte* out) {
  for (int i = 0; i < 2; ++i) {
    const __m512i bits = _mm512_castps_si512(values[i]);
    const __m512i upper = _mm512_srli_epi32(bits, 16);
    const __m512i odd = _mm512_and_si512(upper, _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_srli_epi32(
        _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd), 16);
    const __m512i quiet = _mm512_or_si512(upper, _mm512_set1_epi32(0x40));
    const __mmask16 is_nan = _mm512_cmp_ps_mask(values[i], values[i], _CMP_UNORD_Q);
    const __m512i halves = _mm512_mask_mov_epi32(rounded, is_nan, quiet);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i * 32), _mm512_cvtepi32_epi16(halves));
  }
}

inline void unpack_halves(const std::byte* from, Vector (&values)[2]) {
  for (int i = 0; i < 2; ++i) {
    const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i * 32));
    values[i] = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
  }
}

inline void pack_codes(const Vector (&values)[2], float inverse, std::byte* out) {
  for (int i = 0; i < 2; ++i) {
    const __m512i codes = _mm512_cvtps_epi32(_mm512_mul_ps(values[i], _mm512_set1_ps(inverse)));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i * 16), _mm512_cvtepi32_epi8(codes));
  }
}

inline void unpack_codes(const std::byte* from, float scale, Vector (&values)[2]) {
  for (int i = 0; i < 2; ++i) {
    const __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i * 16));
    const Vector floats = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(codes));
    values[i] = _mm512_mul_ps(_mm512_set1_ps(scale), floats);
  }
}

#include "transport/codec/codec-inl.h"

}  // namespace

const Codec kAvx512 = make_codec("avx512");

}  // namespace cohort::transport::codec
