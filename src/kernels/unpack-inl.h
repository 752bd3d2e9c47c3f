// From packed units (packing.h) to vectors of codes or of floats. Included by each isa/*.cc inside its own namespace.

inline constexpr int kParts = kPanelRows / kLanes;  // vectors of rows in a panel
inline constexpr int kQuadsAUnit = kUnitColumns / 4;

constexpr bool is_plain(CodeKind kind) {
  return kind == CodeKind::kBF16 || kind == CodeKind::kF16 || kind == CodeKind::kF32;
}
constexpr int code_bits(CodeKind kind) {
  switch (kind) {
    case CodeKind::kU2: return 2;
    case CodeKind::kU3: return 3;
    case CodeKind::kU5: return 5;
    case CodeKind::kU6: return 6;
    case CodeKind::kU8:
    case CodeKind::kE4M3: return 8;
    default: return 4;
  }
}
constexpr int low_plane_bits(CodeKind kind) {
  const int bits = code_bits(kind);
  return bits == 3 ? 2 : bits == 5 || bits == 6 ? 4 : bits;
}

// fp4 codes as integers: twice the value, plus an offset that makes all of them positive.
inline constexpr int kE2M1Offset = 12;
alignas(16) inline constexpr uint8_t kE2M1Doubled[16] = {12, 13, 14, 15, 16, 18, 20, 24,
                                                         12, 11, 10, 9,  8,  6,  4,  0};

// What integer dot products see is code - code_offset(kind).
constexpr int code_offset(CodeKind kind) {
  if (kind == CodeKind::kE2M1) return -kE2M1Offset;
  return kind == CodeKind::kU8 ? kByteOffset : 0;
}
constexpr int max_code(CodeKind kind) {
  return kind == CodeKind::kE2M1 ? 2 * kE2M1Offset : (1 << code_bits(kind)) - 1;
}

inline void prefetch(const std::byte* at, int64_t ahead = kPrefetchBytes) {
  __builtin_prefetch(at + ahead);
}

// Where to fetch ahead from the byte at `offset` of a panel, when `panels` of them are read side by side: near a panel's
// end, from those that come after all of these.
inline int64_t prefetch_distance(const PanelLayout& layout, int64_t offset, int64_t panels,
                                 int64_t all_ahead = kPrefetchBytes) {
  const int64_t ahead = all_ahead / panels;
  return ahead + (offset + ahead >= layout.panel_bytes ? (panels - 1) * layout.panel_bytes : 0);
}

inline U32 load_line(const std::byte* line, int part, int64_t ahead = kPrefetchBytes) {
  if (part == 0) prefetch(line, ahead);
  return load_u32(line + part * kLanes * 4);
}

// quads[first + i] |= field i of the bytes of `line`, moved up by kShift.
template <int kWidth, int kShift, int kField = 0>
inline void add_fields(U32 line, U32* quads) {
  if constexpr (kField * kWidth < 8) {
    const U32 mask = splat(0x01010101u * ((1u << kWidth) - 1) << kShift);
    constexpr int kMove = kField * kWidth - kShift;
    U32 field = line;
    if constexpr (kMove > 0) field = shift_right<kMove>(line);
    if constexpr (kMove < 0) field = shift_left<-kMove>(line);
    if constexpr (kWidth < 8) field = field & mask;
    quads[kField] = kShift == 0 ? field : quads[kField] | field;
    add_fields<kWidth, kShift, kField + 1>(line, quads);
  }
}

template <int kWidth, int kShift>
inline void add_plane(const std::byte* plane, int part, int64_t ahead, U32 (&quads)[kQuadsAUnit]) {
  constexpr int kQuadsALine = 8 / kWidth;
  COHORT_UNROLL for (int line = 0; line < kWidth; ++line) {
    add_fields<kWidth, kShift>(load_line(plane + line * kLineBytes, part, ahead),
                               quads + line * kQuadsALine);
  }
}

// The codes of 32 columns: four columns a word, a row a lane. fp4 codes come as kE2M1Doubled, others as they are.
template <CodeKind kKind>
inline void unpack(const std::byte* unit, int part, int64_t ahead, U32 (&quads)[kQuadsAUnit]) {
  constexpr int kLow = low_plane_bits(kKind);
  constexpr int kHigh = code_bits(kKind) - kLow;
  add_plane<kLow, 0>(unit, part, ahead, quads);
  if constexpr (kHigh != 0) add_plane<kHigh, kLow>(unit + kLow * kLineBytes, part, ahead, quads);
  if constexpr (kKind == CodeKind::kE2M1) {
    COHORT_UNROLL for (int i = 0; i < kQuadsAUnit; ++i) quads[i] = lookup(quads[i], kE2M1Doubled);
  }
}

// ---- scales ----

inline F32 load_scale(ScaleKind kind, const std::byte* scales, int first) {
  switch (kind) {
    case ScaleKind::kBF16: return load_bf16(reinterpret_cast<const uint16_t*>(scales) + first);
    case ScaleKind::kF16: return load_f16(reinterpret_cast<const uint16_t*>(scales) + first);
    default: return load(reinterpret_cast<const float*>(scales) + first);
  }
}

// 2^(byte - 127); zero is 2^-127, the one subnormal.
inline F32 load_e8m0(const std::byte* scales) {
  const U32 bytes = load_u8(scales);
  return as_f32(shift_left<23>(bytes)) +
         select_less(to_f32(bytes), broadcast(0.5f), broadcast(0x1p-127f), zero());
}

// fp8 E4M3 of the highest byte of each word. Its bits, put where a float's are, give the value times 2^-120, subnormals
// too. NaN codes (0x7f, 0xff) read as 480: no encoder of weights writes them.
inline F32 widen_e4m3(U32 words) {
  return as_f32(shift_right_signed<4>(words) & splat(0x87f00000)) * broadcast(0x1p120f);
}
inline F32 load_e4m3(const std::byte* scales) {
  return widen_e4m3(shift_left<24>(load_u8(scales)));
}

constexpr int scale_bytes(ScaleKind kind) { return kind == ScaleKind::kF32 ? 4 : 2; }

// value = scale * code + bias, where the code is as unpack() gives it
struct ScaleBias {
  F32 scale;
  F32 bias;
};

inline ScaleBias affine_scale(ScaleKind kind, const std::byte* scales, int part) {
  const int lane = part * kLanes;
  return {load_scale(kind, scales, lane), load_scale(kind, scales, kPanelRows + lane)};
}
inline ScaleBias doubled_scale(F32 scale) {
  const F32 half = scale * broadcast(0.5f);
  return {half, half * broadcast(-static_cast<float>(kE2M1Offset))};
}

// ---- whole units as floats ----

struct Unit {
  const std::byte* codes = nullptr;
  const std::byte* scales = nullptr;  // of its first group
  int64_t ahead = kPrefetchBytes;
};

// `panels`: how many are read side by side.
inline Unit locate_unit(const PackedFormat& format, const PanelLayout& layout,
                        const std::byte* panel, int64_t unit, int64_t panels,
                        int64_t ahead = kPrefetchBytes) {
  const int64_t block = unit / layout.units_a_block;
  const int64_t first = block * layout.units_a_block;
  const int64_t left = layout.units - first;
  const int64_t units = left < layout.units_a_block ? left : layout.units_a_block;
  const std::byte* at = panel + block * layout.block_bytes;
  const std::byte* scales = at + units * layout.unit_bytes;
  if (format.scales == ScaleKind::kE8M0 || format.scales == ScaleKind::kE4M3) {
    scales += (unit - first) * kUnitColumns / format.group_size * kPanelRows;
  }
  at += (unit - first) * layout.unit_bytes;
  return {at, scales, prefetch_distance(layout, at - panel, panels, ahead)};
}

// The scales of the unit's two halves, which differ only where groups have 16 columns.
template <CodeKind kKind>
inline void unit_scales(const PackedFormat& format, const Unit& unit, int part,
                        ScaleBias (&halves)[2]) {
  const std::byte* at = unit.scales + part * kLanes;
  if constexpr (kKind == CodeKind::kE4M3) {
    halves[0] = {load_e8m0(at), zero()};
  } else if constexpr (kKind == CodeKind::kE2M1) {
    if (format.scales == ScaleKind::kE4M3) {
      halves[0] = doubled_scale(load_e4m3(at));
      halves[1] = doubled_scale(load_e4m3(at + kPanelRows));
      return;
    }
    halves[0] = doubled_scale(load_e8m0(at));
  } else {
    halves[0] = affine_scale(format.scales, unit.scales, part);
  }
  halves[1] = halves[0];
}

template <CodeKind kKind, int kByte>
inline F32 widen_code(U32 quad) {
  if constexpr (kKind == CodeKind::kE4M3) {
    return widen_e4m3(kByte == 3 ? quad : shift_left<24 - 8 * kByte>(quad));
  }
  const U32 code = shift_right<8 * kByte>(quad);
  return to_f32(kByte == 3 ? code : code & splat(0xff));
}

template <CodeKind kKind, int kByte = 0, class Visit>
inline void visit_quad(U32 quad, const ScaleBias& s, int column, const Visit& visit) {
  if constexpr (kByte < 4) {
    visit(column + kByte, fma(widen_code<kKind, kByte>(quad), s.scale, s.bias));
    visit_quad<kKind, kByte + 1>(quad, s, column, visit);
  }
}

template <CodeKind kKind>
inline constexpr int kLineColumns = kKind == CodeKind::kF32 ? 1 : 2;  // of plain values

// The columns of one line of plain values, of which the first is `k`.
template <CodeKind kKind, class Visit>
inline void visit_line(const Unit& unit, int part, int k, int columns, const Visit& visit) {
  const std::byte* line = unit.codes + k / kLineColumns<kKind> * kLineBytes;
  if constexpr (kKind == CodeKind::kF32) {
    visit(k, as_f32(load_line(line, part, unit.ahead)));
  } else if constexpr (kKind == CodeKind::kF16) {
    if (part == 0) prefetch(line, unit.ahead);
    const auto* values = reinterpret_cast<const uint16_t*>(line) + part * kLanes;
    visit(k, load_f16(values));
    if (k + 1 < columns) visit(k + 1, load_f16(values + kPanelRows));
  } else {
    const U32 pairs = load_line(line, part, unit.ahead);
    visit(k, as_f32(shift_left<16>(pairs)));
    if (k + 1 < columns) visit(k + 1, as_f32(pairs & splat(0xffff0000)));
  }
}

// visit(column in the unit, weights of kLanes rows) for the first `columns` columns, in order.
template <CodeKind kKind, class Visit>
inline void visit_unit(const PackedFormat& format, const Unit& unit, int part, int columns,
                       const Visit& visit) {
  if constexpr (is_plain(kKind)) {
    COHORT_UNROLL for (int k = 0; k < columns; k += kLineColumns<kKind>) {
      visit_line<kKind>(unit, part, k, columns, visit);
    }
  } else {
    U32 quads[kQuadsAUnit];
    unpack<kKind>(unit.codes, part, unit.ahead, quads);
    ScaleBias halves[2];
    unit_scales<kKind>(format, unit, part, halves);
    COHORT_UNROLL for (int i = 0; i < kQuadsAUnit; ++i) {
      if (4 * i < columns) visit_quad<kKind>(quads[i], halves[i / (kQuadsAUnit / 2)], 4 * i, visit);
    }
  }
}
