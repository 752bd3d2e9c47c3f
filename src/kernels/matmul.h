// Products of activations with a packed matrix (kernels/packing.h): y = x W^T, that is y[m][r] = sum_k x[m][k] W[r][k].
//
// Two ways, chosen by how many rows of activations there are:
//   decode    up to kMaxDecodeRows rows; bound by reading the weights, which all rows share
//   prefill   many rows; weights are widened tile by tile in cache and multiplied from registers
// and two accuracies:
//   f32       float activations and sums: relative error about 1e-6. Each y is one chain of fused multiply-adds in column
//             order in both ways, so its bits depend on neither the number of rows nor the way taken.
//   fast      decode: activations rounded to 8 bits by groups of 32 columns, exact integer sums inside a group; for
//             formats that eight bits do not hold, bf16 where the hardware multiplies it, else as f32
//             prefill: bf16 where the hardware multiplies it, else f32
//
// Kernels work on a range of panels (16 rows of W each), so that the caller can share a product out among threads. Nothing
// here allocates. Pointers to packed data are aligned to kPackedAlignment; others as their type.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/packing.h"

namespace cohort::kernels {

inline constexpr int kMaxDecodeRows = 8;
inline constexpr int kActivationGroup = 32;

// Activations rounded to 8 bits: 32 columns of one row, of which x[k] is about codes[k] * scale. Columns past the last are
// zero.
struct QuantizedGroup {
  int8_t codes[kActivationGroup];  // -127..127
  float scale;
  float sum;             // the scale times the sum of the codes
  int32_t code_sums[2];  // of the first and the last 16 codes
};

// The rows of a decode side by side: group g of row m is data[g * stride + m], where stride is quantized_stride(rows).
// What stands in the place of rows that fill up the stride does not matter.
struct QuantizedRows {
  const QuantizedGroup* data = nullptr;
  int64_t rows = 0;
};

// Activations rounded to bf16: 32 columns of one row, in pairs.
struct Bf16Group {
  uint32_t pairs[kActivationGroup / 2];
};
struct Bf16Rows {  // as QuantizedRows
  const Bf16Group* data = nullptr;
  int64_t rows = 0;
};

constexpr int64_t quantized_stride(int64_t rows) {
  return rows <= 2 ? rows : rows <= 4 ? 4 : kMaxDecodeRows;
}
constexpr int64_t quantized_groups(int64_t rows, int64_t columns) {  // to make room for
  return (columns + kActivationGroup - 1) / kActivationGroup * quantized_stride(rows);
}

struct ActivationRows {
  const float* data = nullptr;
  int64_t stride = 0;  // floats from row to row
  int64_t rows = 0;
  int64_t columns = 0;
};

struct Output {  // y[m][r] is data[m * stride + r]
  float* data = nullptr;
  int64_t stride = 0;
};

// A way of multiplying many rows. Activations are first packed, by tiles of rows; the tiles may be packed by different
// threads.
struct GemmKernels {
  int64_t (*tile_count)(int64_t rows);
  size_t (*packed_bytes)(int64_t rows, int64_t columns);  // a multiple of 64
  void (*pack)(const ActivationRows& x, Range tiles, std::byte* out);
  void (*multiply)(const PackedMatrix& w, Range panels, const std::byte* packed, int64_t rows,
                   const Output& y);
  int64_t panels_at_once = 4;  // with fewer in a call, activations are read more often; even
};

// Ahead of the load: memory's latency at one core's full rate.
inline constexpr int64_t kPrefetchBytes = 8192;

// How this CPU likes to read memory. Bytes are how far ahead of a load instructions fetch, all streams together.
struct ReadHabits {
  // Decoding takes two panels side by side even for one or two rows: two streams keep more of memory's answers under way.
  bool in_pairs = false;
  int64_t stream_ahead = kPrefetchBytes;  // one panel, one or two rows; 0: it does better by itself
  int64_t others_ahead = kPrefetchBytes;  // several panels, or more rows
  int64_t probe_ahead = kPrefetchBytes;   // loads and nothing else
};
const ReadHabits& read_habits();

struct MatmulKernels {
  // Whether decode_i8 takes this format. It does not for plain values and mxfp8.
  bool (*has_decode_i8)(const PackedFormat& format);
  // One row into its place: `out` is that of its first group.
  void (*quantize_activation)(const float* x, int64_t columns, int64_t stride, QuantizedGroup* out);
  void (*decode_i8)(const PackedMatrix& w, Range panels, const QuantizedRows& x, const Output& y);
  void (*decode_f32)(const PackedMatrix& w, Range panels, const ActivationRows& x, const Output& y);
  // The same in bf16, for formats that has_decode_bf16 takes.
  bool (*has_decode_bf16)(const PackedFormat& format);
  void (*round_activation)(const float* x, int64_t columns, int64_t stride, Bf16Group* out);
  void (*decode_bf16)(const PackedMatrix& w, Range panels, const Bf16Rows& x, const Output& y);
  GemmKernels prefill_f32;
  GemmKernels prefill_fast;
  // Activations in 8 bits by groups of 64 columns: faster than prefill_fast where has_prefill_i8 says yes, less accurate.
  bool (*has_prefill_i8)(const PackedFormat& format);
  GemmKernels prefill_i8;
};

}  // namespace cohort::kernels
