// gemm_amx-inl.h with registers that are arrays: its products are checked where no CPU executes AMX. The rest of the table
// is that of avx512_bf16.
#include "kernels/testing/amx_reference.h"

#include <immintrin.h>

#include "kernels/isa/prelude.h"

namespace cohort::kernels {
namespace {
#include "kernels/isa/simd_avx512-inl.h"
#include "kernels/isa/dot_vnni-inl.h"
#include "kernels/matmul-inl.h"
#include "kernels/isa/bf16_math_avx512-inl.h"
#include "kernels/isa/decode_bf16_avx512-inl.h"
#include "kernels/vector-inl.h"
#include "kernels/isa/attention_bf16_avx512-inl.h"
#include "kernels/isa/gemm_amx-inl.h"
#include "kernels/probe-inl.h"

// This file is compiled for AVX-512, so it must not share functions with others (isa/prelude.h).
inline void require(bool what_a_cpu_wants) {
  if (!what_a_cpu_wants) __builtin_trap();
}

struct ReferenceTile {
  int rows = 0, row_bytes = 0;  // 0: not configured, which a CPU answers with a fault
  uint8_t bytes[16][64] = {};

  template <class T>
  T get(int row, int at) const {
    require(row < rows &&
            static_cast<size_t>(at + 1) * sizeof(T) <= static_cast<size_t>(row_bytes));
    T value;
    std::memcpy(&value, bytes[row] + static_cast<size_t>(at) * sizeof(T), sizeof(T));
    return value;
  }
  template <class T>
  void set(int row, int at, T value) {
    std::memcpy(bytes[row] + static_cast<size_t>(at) * sizeof(T), &value, sizeof(T));
  }
};

thread_local ReferenceTile registers[8];

float widened(uint16_t bf16) {
  return __builtin_bit_cast(float, static_cast<uint32_t>(bf16) << 16);
}

struct ReferenceTiles {
  static void configure() {
    for (ReferenceTile& tile : registers) tile = {16, 64};
  }
  static void release() {
    for (ReferenceTile& tile : registers) tile = {};
  }

  template <int kTile>
  static void zero() {
    std::memset(registers[kTile].bytes, 0, sizeof(registers[kTile].bytes));
  }
  template <int kTile>
  static void load(const void* from, int64_t stride_bytes) {
    ReferenceTile& tile = registers[kTile];
    require(tile.rows > 0);
    zero<kTile>();
    for (int row = 0; row < tile.rows; ++row) {
      std::memcpy(tile.bytes[row], static_cast<const std::byte*>(from) + row * stride_bytes,
                  static_cast<size_t>(tile.row_bytes));
    }
  }
  template <int kTile>
  static void store(void* to, int64_t stride_bytes) {
    const ReferenceTile& tile = registers[kTile];
    require(tile.rows > 0);
    for (int row = 0; row < tile.rows; ++row) {
      std::memcpy(static_cast<std::byte*>(to) + row * stride_bytes, tile.bytes[row],
                  static_cast<size_t>(tile.row_bytes));
    }
  }

  // sums[m][n] += the sum over k of multiply(a, m, k, b, n): a CPU wants as many rows of b as a has words in a row.
  template <class Sum, int kSums, int kA, int kB, class Multiply>
  static void dot(const Multiply& multiply) {
    ReferenceTile& sums = registers[kSums];
    const ReferenceTile &a = registers[kA], &b = registers[kB];
    require(sums.rows == a.rows && sums.row_bytes == b.row_bytes && a.row_bytes == 4 * b.rows);
    for (int m = 0; m < sums.rows; ++m) {
      for (int k = 0; k < b.rows; ++k) {
        for (int n = 0; n < sums.row_bytes / 4; ++n) {
          sums.set(m, n, multiply(sums.get<Sum>(m, n), a, m, k, b, n));
        }
      }
    }
  }
  template <int kSums, int kA, int kB>
  static void dot_bf16() {
    dot<float, kSums, kA, kB>(
        [](float sum, const ReferenceTile& a, int m, int k, const ReferenceTile& b, int n) {
          for (int i = 0; i < 2; ++i) {
            sum += widened(a.get<uint16_t>(m, 2 * k + i)) * widened(b.get<uint16_t>(k, 2 * n + i));
          }
          return sum;
        });
  }
};

constexpr Kernels kReference = {
    "amx_reference", Isa::kAmx,
    with_amx<ReferenceTiles>(with_decode_bf16(make_matmul_kernels<Bf16Math>())),
    with_bf16_attention<AmxProduct<ReferenceTiles>>(make_vector_kernels()),
    with_amx_probe<ReferenceTiles>(make_probe_kernels<Bf16Math>())};

}  // namespace

const Kernels& amx_reference_kernels() { return kReference; }

}  // namespace cohort::kernels
