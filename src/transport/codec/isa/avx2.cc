#include <immintrin.h>

#include <cstring>

#include "transport/codec/isa/isa.h"

namespace cohort::transport::codec {
namespace {

using Vector = __m256;
constexpr size_t kLanes = 8;

inline Vector load(const std::byte* from) {
  return _mm256_loadu_ps(reinterpret_cast<const float*>(from));
}
inline void store(float* to, Vector values) { _mm256_storeu_ps(to, values); }
inline Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }

inline uint32_t largest(const Vector (&values)[4]) {
  const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
  const auto bits = [&](int i) {
    return _mm256_and_si256(_mm256_castps_si256(values[i]), magnitude);
  };
  const __m256i eight =
      _mm256_max_epi32(_mm256_max_epi32(bits(0), bits(1)), _mm256_max_epi32(bits(2), bits(3)));
  __m128i most = _mm_max_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  most = _mm_max_epi32(most, _mm_shuffle_epi32(most, 0x4e));
  most = _mm_max_epi32(most, _mm_shuffle_epi32(most, 0xb1));
  return static_cast<uint32_t>(_mm_cvtsi128_si32(most));
}

inline __m256i halves_of(Vector values) {
  const __m256i bits = _mm256_castps_si256(values);
  const __m256i upper = _mm256_srli_epi32(bits, 16);
  const __m256i odd = _mm256_and_si256(upper, _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_srli_epi32(
      _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd), 16);
  const __m256i quiet = _mm256_or_si256(upper, _mm256_set1_epi32(0x40));
  const __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(values, values, _CMP_UNORD_Q));
  return _mm256_blendv_epi8(rounded, quiet, is_nan);
}

// Packing goes by halves of a register: 0x d8 puts quarters 0 2 1 3 into order.
inline void pack_halves(const Vector (&values)[4], std::byte* out) {
  for (int i = 0; i < 2; ++i) {
    const __m256i mixed =
        _mm256_packus_epi32(halves_of(values[2 * i]), halves_of(values[2 * i + 1]));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i * 32),
                        _mm256_permute4x64_epi64(mixed, 0xd8));
  }
}

inline void unpack_halves(const std::byte* from, Vector (&values)[4]) {
  for (int i = 0; i < 4; ++i) {
    const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i * 16));
    values[i] = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
  }
}

inline void pack_codes(const Vector (&values)[4], float inverse, std::byte* out) {
  const Vector factor = _mm256_set1_ps(inverse);
  const auto codes = [&](int i) { return _mm256_cvtps_epi32(_mm256_mul_ps(values[i], factor)); };
  const __m256i mixed = _mm256_packs_epi16(_mm256_packs_epi32(codes(0), codes(1)),
                                           _mm256_packs_epi32(codes(2), codes(3)));
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_permutevar8x32_epi32(mixed, order));
}

inline void unpack_codes(const std::byte* from, float scale, Vector (&values)[4]) {
  for (int i = 0; i < 4; ++i) {
    const __m128i codes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from + i * 8));
    const Vector floats = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes));
    values[i] = _mm256_mul_ps(_mm256_set1_ps(scale), floats);
  }
}

#include "transport/codec/codec-inl.h"

}  // namespace

const Codec kAvx2 = make_codec("avx2");

}  // namespace cohort::transport::codec
