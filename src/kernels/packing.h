// Weight matrices as the kernels read them: repacked once, at load, into one sequential stream.
//
// Sixteen rows (outputs) make a panel, the panels follow one another, and a panel is a sequence of blocks of columns with
// their scales (and biases) inline, so that a product reads memory front to back and touches each byte once. Inside a
// block, a unit of 32 columns holds for each row the codes of four consecutive columns in one 32-bit word ("quad"), the
// words of the sixteen rows side by side in one 64-byte line. That is the operand of a dot-product instruction whose lanes
// are rows, both for one activation (broadcast) and for a tile of many.
//
//   affine 2, 4, 8 bits    unit = planes of that width: line j holds the quads j*w..j*w+w-1 (w = 8 / bits), the first in
//                          the low bits of each byte
//   affine 3, 5, 6 bits    a plane of the low 2, 4, 4 bits, then one of the high 1, 1, 2 bits, each as above
//                          block = one group: units, 16 scales, 16 biases
//   mxfp4, nvfp4, mxfp8    as 4, 4, 8 bits; block = four groups: units, 4 x 16 scale bytes (a last block may have fewer
//                          groups; its scale bytes still fill a line)
//   bf16, f16, f32         a unit of bf16 is pairs of columns by row (32-bit words), of f16 and f32 single columns
//
// Everything is a multiple of 64 bytes. Rows that fill up the last panel, and columns that fill up the last unit, are zero.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/quantization.h"

namespace cohort::kernels {

inline constexpr int kPanelRows = 16;
inline constexpr int kUnitColumns = 32;
inline constexpr int kLineBytes = 64;
inline constexpr size_t kPackedAlignment = 64;  // of the first byte, for full speed

enum class CodeKind : uint8_t { kU2, kU3, kU4, kU5, kU6, kU8, kE2M1, kE4M3, kBF16, kF16, kF32 };
enum class ScaleKind : uint8_t { kNone, kBF16, kF16, kF32, kE8M0, kE4M3 };

struct PackedFormat {
  CodeKind codes = CodeKind::kF32;
  ScaleKind scales = ScaleKind::kNone;  // kBF16, kF16, kF32: with biases of that type
  int group_size = 0;                   // columns of a scale; 0 without scales

  bool operator==(const PackedFormat&) const = default;
};

// Bytes in memory of the parts of a panel.
struct PanelLayout {
  int64_t units = 0;          // of the whole panel
  int64_t units_a_block = 1;  // of all blocks but perhaps the last
  int64_t unit_bytes = 0;
  int64_t scale_bytes = 0;  // of a block, at its end
  int64_t block_bytes = 0;
  int64_t panel_bytes = 0;
};

struct PackedMatrix {  // a view: the bytes belong to whoever packed them
  PackedFormat format;
  int64_t rows = 0;
  int64_t columns = 0;
  const std::byte* panels = nullptr;
};

struct Range {
  int64_t first = 0;
  int64_t count = 0;
};

PackedFormat packed_format(const MatrixView& view);
PanelLayout panel_layout(const PackedFormat& format, int64_t columns);
constexpr int64_t panel_count(int64_t rows) { return (rows + kPanelRows - 1) / kPanelRows; }
size_t packed_size_bytes(const PackedFormat& format, int64_t rows, int64_t columns);

// Packs rows x columns of one expert (0 without an expert axis) to `out`, which has packed_size_bytes() of room. The
// column range begins and ends at multiples of the group. Calls for disjoint ranges of whole panels may run on different
// threads.
void pack_rows(const MatrixView& view, int64_t expert, Range rows, Range columns, std::byte* out);

// One row widened to float, `columns` values. Not fast: for embeddings and tests.
void dequantize_packed_row(const PackedMatrix& matrix, int64_t row, float* out);

}  // namespace cohort::kernels
