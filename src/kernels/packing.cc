#include "kernels/packing.h"

#include <algorithm>
#include <cstring>

#include "base/bytes.h"
#include "base/check.h"

namespace cohort::kernels {
namespace {

constexpr int kQuadsAUnit = kUnitColumns / 4;
constexpr int kMxGroupsABlock = 4;

// A code is the low bits of the first plane, then those of the second.
struct Planes {
  int low = 0;
  int high = 0;
};

constexpr Planes planes_of(int bits) {
  switch (bits) {
    case 3: return {2, 1};
    case 5: return {4, 1};
    case 6: return {4, 2};
    default: return {bits, 0};
  }
}

constexpr int code_bits(CodeKind kind) {
  switch (kind) {
    case CodeKind::kU2: return 2;
    case CodeKind::kU3: return 3;
    case CodeKind::kU4:
    case CodeKind::kE2M1: return 4;
    case CodeKind::kU5: return 5;
    case CodeKind::kU6: return 6;
    case CodeKind::kU8:
    case CodeKind::kE4M3: return 8;
    case CodeKind::kBF16:
    case CodeKind::kF16: return 16;
    case CodeKind::kF32: return 32;
  }
  return 0;
}

CodeKind affine_codes(int bits) {
  switch (bits) {
    case 2: return CodeKind::kU2;
    case 3: return CodeKind::kU3;
    case 4: return CodeKind::kU4;
    case 5: return CodeKind::kU5;
    case 6: return CodeKind::kU6;
    case 8: return CodeKind::kU8;
    default: break;
  }
  COHORT_CHECK(false && "affine codes have 2, 3, 4, 5, 6 or 8 bits");
  return CodeKind::kU8;
}

CodeKind plain_codes(DType type) {
  COHORT_CHECK(type == DType::kBF16 || type == DType::kF16 || type == DType::kF32);
  if (type == DType::kF32) return CodeKind::kF32;
  return type == DType::kBF16 ? CodeKind::kBF16 : CodeKind::kF16;
}

ScaleKind affine_scales(DType type) {
  COHORT_CHECK(type == DType::kBF16 || type == DType::kF16 || type == DType::kF32);
  if (type == DType::kF32) return ScaleKind::kF32;
  return type == DType::kBF16 ? ScaleKind::kBF16 : ScaleKind::kF16;
}

constexpr bool has_biases(ScaleKind kind) {
  return kind == ScaleKind::kBF16 || kind == ScaleKind::kF16 || kind == ScaleKind::kF32;
}

constexpr size_t scale_size(ScaleKind kind) {
  switch (kind) {
    case ScaleKind::kNone: return 0;
    case ScaleKind::kF32: return 4;
    case ScaleKind::kBF16:
    case ScaleKind::kF16: return 2;
    case ScaleKind::kE8M0:
    case ScaleKind::kE4M3: return 1;
  }
  return 0;
}

// ---- addresses inside a panel ----

struct UnitAddress {
  int64_t codes = 0;   // offset of the unit
  int64_t scales = 0;  // offset of its block's scales
};

UnitAddress unit_address(const PanelLayout& layout, int64_t unit) {
  const int64_t block = unit / layout.units_a_block;
  const int64_t first_unit = block * layout.units_a_block;
  const int64_t units = std::min(layout.units_a_block, layout.units - first_unit);
  const int64_t start = block * layout.block_bytes;
  return {start + (unit - first_unit) * layout.unit_bytes, start + units * layout.unit_bytes};
}

// ---- codes ----

constexpr uint64_t low_bits(int count) { return (uint64_t{1} << count) - 1; }

// Eight codes of a bit stream, a byte each.
template <int kBits>
uint64_t spread(uint64_t stream) {
  if constexpr (kBits == 8) return stream;
  constexpr uint64_t kFours = low_bits(4 * kBits);
  constexpr uint64_t kTwos = low_bits(2 * kBits) * 0x0000000100000001;
  constexpr uint64_t kOnes = low_bits(kBits) * 0x0001000100010001;
  uint64_t x = (stream & kFours) | (stream >> (4 * kBits) & kFours) << 32;
  x = (x & kTwos) | (x >> (2 * kBits) & kTwos) << 16;
  return (x & kOnes) | (x >> kBits & kOnes) << 8;
}

template <int kBits>
void read_quads(const std::byte* stream, int64_t columns, uint32_t (&quads)[kQuadsAUnit]) {
  for (int64_t column = 0; column < columns; column += 8) {
    uint64_t codes = 0;
    std::memcpy(&codes, stream + column * kBits / 8, kBits);
    codes = spread<kBits>(codes);
    std::memcpy(&quads[column / 4], &codes, sizeof(codes));
  }
}

template <int kWidth>
void write_plane(const uint32_t (&quads)[kQuadsAUnit], int shift, std::byte* out) {
  constexpr int kQuadsALine = 8 / kWidth;
  constexpr uint32_t kMask = static_cast<uint32_t>(low_bits(kWidth)) * 0x01010101;
  for (int first = 0; first < kQuadsAUnit; first += kQuadsALine) {
    uint32_t word = 0;
    for (int i = 0; i < kQuadsALine; ++i) {
      word |= (quads[first + i] >> shift & kMask) << (i * kWidth);
    }
    store(out + first / kQuadsALine * kLineBytes, word);
  }
}

// Two quads of a stream of 4-bit codes (c0 to c7 from the low bits up) as one word of a line: c0 c4 c1 c5 c2 c6 c3 c7.
// Two such words side by side are one uint64_t.
uint64_t interleave_nibbles(uint64_t words) {
  constexpr uint64_t kMiddleBytes = 0x0000ff000000ff00, kMiddleNibbles = 0x00f000f000f000f0;
  const uint64_t bytes = (words ^ words >> 8) & kMiddleBytes;
  words ^= bytes ^ bytes << 8;
  const uint64_t nibbles = (words ^ words >> 4) & kMiddleNibbles;
  return words ^ nibbles ^ nibbles << 4;
}

void pack_nibbles(const std::byte* stream, std::byte* out) {
  for (int line = 0; line < 4; line += 2) {
    const uint64_t words = interleave_nibbles(load<uint64_t>(stream + line * 4));
    store(out + line * kLineBytes, static_cast<uint32_t>(words));
    store(out + (line + 1) * kLineBytes, static_cast<uint32_t>(words >> 32));
  }
}

// One row's codes of one unit; `out` is that row's word in the unit's first line.
template <int kBits>
void pack_codes(const std::byte* stream, int64_t columns, std::byte* out) {
  if constexpr (kBits == 4) {
    if (columns == kUnitColumns) return pack_nibbles(stream, out);
  }
  constexpr Planes kPlanes = planes_of(kBits);
  uint32_t quads[kQuadsAUnit] = {};
  read_quads<kBits>(stream, columns, quads);
  write_plane<kPlanes.low>(quads, 0, out);
  if constexpr (kPlanes.high != 0) {
    write_plane<kPlanes.high>(quads, kPlanes.low, out + kPlanes.low * kLineBytes);
  }
}

void pack_pairs(const std::byte* values, int64_t columns, std::byte* out) {
  for (int64_t c = 0; c < columns; ++c) {
    std::memcpy(out + c / 2 * kLineBytes + c % 2 * 2, values + c * 2, 2);
  }
}

template <size_t kSize>
void pack_singles(const std::byte* values, int64_t columns, std::byte* out) {
  for (int64_t c = 0; c < columns; ++c) {
    std::memcpy(out + c * static_cast<int64_t>(kPanelRows * kSize),
                values + c * static_cast<int64_t>(kSize), kSize);
  }
}

using PackUnit = void (*)(const std::byte* from, int64_t columns, std::byte* out);

PackUnit unit_packer(CodeKind kind) {
  switch (kind) {
    case CodeKind::kU2: return pack_codes<2>;
    case CodeKind::kU3: return pack_codes<3>;
    case CodeKind::kU4:
    case CodeKind::kE2M1: return pack_codes<4>;
    case CodeKind::kU5: return pack_codes<5>;
    case CodeKind::kU6: return pack_codes<6>;
    case CodeKind::kU8:
    case CodeKind::kE4M3: return pack_codes<8>;
    case CodeKind::kBF16: return pack_pairs;
    case CodeKind::kF16: return pack_singles<2>;
    case CodeKind::kF32: return pack_singles<4>;
  }
  return nullptr;
}

int row_bytes_in_line(CodeKind kind) { return kind == CodeKind::kF16 ? 2 : 4; }

// ---- one panel ----

struct Source {
  const MatrixView& view;
  PackedFormat format;
  PanelLayout layout;
  int64_t first_row = 0;  // counted over all experts
  Range columns;
};

const std::byte* row_codes(const Source& source, int64_t row) {
  const int64_t bits = code_bits(source.format.codes);
  const int64_t row_bytes = source.view.columns * bits / 8;
  return source.view.weight.data + (source.first_row + row) * row_bytes +
         source.columns.first * bits / 8;
}

void pack_panel_codes(const Source& source, int64_t first_row, int rows, std::byte* panel) {
  constexpr int64_t kUnitsAtOnce =
      32;  // so that the lines written by the first row are still near for the last
  const PanelLayout& layout = source.layout;
  const PackUnit pack_unit = unit_packer(source.format.codes);
  const int64_t unit_source_bytes = kUnitColumns * code_bits(source.format.codes) / 8;
  for (int64_t first = 0; first < layout.units; first += kUnitsAtOnce) {
    const int64_t end = std::min(first + kUnitsAtOnce, layout.units);
    for (int row = 0; row < rows; ++row) {
      const std::byte* from = row_codes(source, first_row + row);
      std::byte* to = panel + row * row_bytes_in_line(source.format.codes);
      for (int64_t unit = first; unit < end; ++unit) {
        const int64_t columns =
            std::min<int64_t>(kUnitColumns, source.columns.count - unit * kUnitColumns);
        pack_unit(from + unit * unit_source_bytes, columns, to + unit_address(layout, unit).codes);
      }
    }
  }
}

template <int64_t kSize>
void pack_panel_scales(const Source& source, int64_t first_row, int rows, std::byte* panel) {
  const PackedFormat& format = source.format;
  const int64_t row_groups = source.view.columns / format.group_size;
  const int64_t first_group = source.columns.first / format.group_size;
  for (int64_t group = 0; group < source.columns.count / format.group_size; ++group) {
    const int64_t column = group * format.group_size;
    const int64_t unit = column / kUnitColumns;
    const int64_t block_column =
        unit / source.layout.units_a_block * source.layout.units_a_block * kUnitColumns;
    const int64_t group_in_block = (column - block_column) / format.group_size;
    std::byte* scales =
        panel + unit_address(source.layout, unit).scales + group_in_block * kPanelRows * kSize;
    for (int row = 0; row < rows; ++row) {
      const int64_t from =
          ((source.first_row + first_row + row) * row_groups + first_group + group) * kSize;
      std::memcpy(scales + row * kSize, source.view.scales.data + from, kSize);
      if (!has_biases(format.scales)) continue;
      std::memcpy(scales + (kPanelRows + row) * kSize, source.view.biases.data + from, kSize);
    }
  }
}

using PackPanelScales = void (*)(const Source& source, int64_t first_row, int rows,
                                 std::byte* panel);

PackPanelScales scale_packer(ScaleKind kind) {
  switch (scale_size(kind)) {
    case 1: return pack_panel_scales<1>;
    case 2: return pack_panel_scales<2>;
    case 4: return pack_panel_scales<4>;
    default: return nullptr;  // no scales
  }
}

// Whether some of a panel's bytes belong to no row, no column or no group.
bool is_padded(const Source& source, int rows) {
  const int64_t columns = source.layout.units * kUnitColumns;
  return rows < kPanelRows || source.columns.count < columns ||
         source.layout.units % source.layout.units_a_block != 0;
}

// ---- reading back ----

float packed_scale(ScaleKind kind, const std::byte* at) {
  switch (kind) {
    case ScaleKind::kNone: return 1.0f;
    case ScaleKind::kBF16: return bf16_to_float(load<uint16_t>(at));
    case ScaleKind::kF16: return f16_to_float(load<uint16_t>(at));
    case ScaleKind::kF32: return load<float>(at);
    case ScaleKind::kE8M0: return f8_e8m0_to_float(load<uint8_t>(at));
    case ScaleKind::kE4M3: return f8_e4m3_to_float(load<uint8_t>(at));
  }
  return 0;
}

uint32_t plane_code(const std::byte* plane, int width, int row, int column) {
  const int quads_a_line = 8 / width;
  const int quad = column / 4;
  const std::byte* byte = plane + quad / quads_a_line * kLineBytes + row * 4 + column % 4;
  return load<uint8_t>(byte) >> (quad % quads_a_line * width) &
         static_cast<uint32_t>(low_bits(width));
}

uint32_t unit_code(const std::byte* unit, int bits, int row, int column) {
  const Planes planes = planes_of(bits);
  const uint32_t low = plane_code(unit, planes.low, row, column);
  if (planes.high == 0) return low;
  return low | plane_code(unit + planes.low * kLineBytes, planes.high, row, column) << planes.low;
}

float unit_value(CodeKind kind, const std::byte* unit, int row, int column) {
  switch (kind) {
    case CodeKind::kBF16:
      return bf16_to_float(
          load<uint16_t>(unit + column / 2 * kLineBytes + row * 4 + column % 2 * 2));
    case CodeKind::kF16:
      return f16_to_float(load<uint16_t>(unit + (column * kPanelRows + row) * 2));
    case CodeKind::kF32: return load<float>(unit + (column * kPanelRows + row) * 4);
    case CodeKind::kE2M1: return kE2M1[unit_code(unit, 4, row, column)];
    case CodeKind::kE4M3:
      return f8_e4m3_to_float(static_cast<uint8_t>(unit_code(unit, 8, row, column)));
    default: return static_cast<float>(unit_code(unit, code_bits(kind), row, column));
  }
}

}  // namespace

PackedFormat packed_format(const MatrixView& view) {
  const int group = view.format.group_size;
  switch (view.format.mode) {
    case QuantMode::kNone: return {plain_codes(view.weight.dtype), ScaleKind::kNone, 0};
    case QuantMode::kAffine:
      return {affine_codes(view.format.bits), affine_scales(view.scales.dtype), group};
    case QuantMode::kMxfp4: return {CodeKind::kE2M1, ScaleKind::kE8M0, group};
    case QuantMode::kNvfp4: return {CodeKind::kE2M1, ScaleKind::kE4M3, group};
    case QuantMode::kMxfp8: return {CodeKind::kE4M3, ScaleKind::kE8M0, group};
  }
  return {};
}

PanelLayout panel_layout(const PackedFormat& format, int64_t columns) {
  const auto size = static_cast<int64_t>(scale_size(format.scales));
  const int groups_a_block = has_biases(format.scales) ? 1 : kMxGroupsABlock;
  PanelLayout layout;
  layout.units = divide_up<int64_t>(columns, kUnitColumns);
  layout.unit_bytes = static_cast<int64_t>(kUnitColumns) * kPanelRows * code_bits(format.codes) / 8;
  if (format.scales != ScaleKind::kNone) {
    layout.units_a_block = groups_a_block * format.group_size / kUnitColumns;
    layout.scale_bytes = groups_a_block * kPanelRows * size * (has_biases(format.scales) ? 2 : 1);
  }
  layout.block_bytes = layout.units_a_block * layout.unit_bytes + layout.scale_bytes;
  layout.panel_bytes = layout.units * layout.unit_bytes +
                       divide_up(layout.units, layout.units_a_block) * layout.scale_bytes;
  return layout;
}

size_t packed_size_bytes(const PackedFormat& format, int64_t rows, int64_t columns) {
  return static_cast<size_t>(panel_count(rows) * panel_layout(format, columns).panel_bytes);
}

void pack_rows(const MatrixView& view, int64_t expert, Range rows, Range columns, std::byte* out) {
  const PackedFormat format = packed_format(view);
  const int64_t group = std::max(format.group_size, 1);
  COHORT_CHECK(rows.first >= 0 && rows.count >= 0 && rows.first + rows.count <= view.rows);
  COHORT_CHECK(columns.first >= 0 && columns.first + columns.count <= view.columns);
  COHORT_CHECK(columns.first % group == 0 && columns.count % group == 0);
  const Source source = {view, format, panel_layout(format, columns.count),
                         expert * view.rows + rows.first, columns};
  const PackPanelScales pack_scales = scale_packer(format.scales);
  for (int64_t first = 0; first < rows.count; first += kPanelRows) {
    std::byte* panel = out + first / kPanelRows * source.layout.panel_bytes;
    const int count = static_cast<int>(std::min<int64_t>(kPanelRows, rows.count - first));
    if (is_padded(source, count))
      std::memset(panel, 0, static_cast<size_t>(source.layout.panel_bytes));
    pack_panel_codes(source, first, count, panel);
    if (pack_scales != nullptr) pack_scales(source, first, count, panel);
  }
}

void dequantize_packed_row(const PackedMatrix& matrix, int64_t row, float* out) {
  const PackedFormat& format = matrix.format;
  const PanelLayout layout = panel_layout(format, matrix.columns);
  const std::byte* panel = matrix.panels + row / kPanelRows * layout.panel_bytes;
  const int lane = static_cast<int>(row % kPanelRows);
  const auto size = static_cast<int64_t>(scale_size(format.scales));
  const int64_t block_columns = layout.units_a_block * kUnitColumns;
  for (int64_t c = 0; c < matrix.columns; ++c) {
    const UnitAddress address = unit_address(layout, c / kUnitColumns);
    out[c] =
        unit_value(format.codes, panel + address.codes, lane, static_cast<int>(c % kUnitColumns));
    if (format.scales == ScaleKind::kNone) continue;
    const int64_t group = c % block_columns / format.group_size;
    const std::byte* scale = panel + address.scales + (group * kPanelRows + lane) * size;
    out[c] *= packed_scale(format.scales, scale);
    if (has_biases(format.scales)) out[c] += packed_scale(format.scales, scale + kPanelRows * size);
  }
}

}  // namespace cohort::kernels
