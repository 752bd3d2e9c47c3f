// Few rows of activations: the weights stream by once, and every row of activations meets them in registers.
// Included by each isa/*.cc inside its own namespace.

// ---- activations in 8 bits ----

inline F32 load_columns(const float* x, int64_t left) {
  return left >= kLanes ? load(x) : load_part(x, left > 0 ? static_cast<int>(left) : 0);
}

// The first `left` columns of `x` as one group.
inline void quantize_group(const float* x, int64_t left, QuantizedGroup& out) {
  constexpr int kVectors = kActivationGroup / kLanes;
  F32 values[kVectors];
  F32 greatest = zero();
  COHORT_UNROLL for (int i = 0; i < kVectors; ++i) {
    values[i] = load_columns(x + i * kLanes, left - i * kLanes);
    greatest = max(greatest, abs(values[i]));
  }
  const float scale = maximum(greatest) / 127.0f;
  const F32 inverse = broadcast(scale > 0x1p-126f ? 1.0f / scale : 0.0f);
  F32 sums[2] = {zero(), zero()};
  COHORT_UNROLL for (int i = 0; i < kVectors; ++i) {
    const F32 rounded = round(values[i] * inverse);
    store_i8(out.codes + i * kLanes, rounded);
    F32& half = sums[2 * i / kVectors];
    half = half + rounded;
  }
  out.code_sums[0] = static_cast<int32_t>(sum(sums[0]));
  out.code_sums[1] = static_cast<int32_t>(sum(sums[1]));
  out.scale = scale;
  out.sum = scale * static_cast<float>(out.code_sums[0] + out.code_sums[1]);
}

inline void quantize_activation(const float* x, int64_t columns, int64_t stride,
                                QuantizedGroup* out) {
  for (int64_t k = 0; k < columns; k += kActivationGroup, out += stride)
    quantize_group(x + k, columns - k, *out);
}

// ---- products ----

// Results of one panel for kRows rows of activations.
template <int kRows>
struct Totals {
  F32 at[kParts][kRows];
};

template <int kRows>
inline void clear(Totals<kRows>& totals) {
  for (int part = 0; part < kParts; ++part) {
    COHORT_UNROLL for (int r = 0; r < kRows; ++r) totals.at[part][r] = zero();
  }
}

inline int lanes_left(int64_t rows, int64_t first) {
  const int64_t left = rows - first;
  return left >= kLanes ? kLanes : left > 0 ? static_cast<int>(left) : 0;
}

// Rows of activations past x_rows only fill up kRows and are not stored.
template <int kRows>
inline void store_totals(const Totals<kRows>& totals, const PackedMatrix& w, int64_t panel,
                         int64_t x_rows, const Output& y) {
  for (int part = 0; part < kParts; ++part) {
    const int64_t first = panel * kPanelRows + part * kLanes;
    const int lanes = lanes_left(w.rows, first);
    for (int r = 0; r < kRows && r < x_rows; ++r) {
      store_part(y.data + r * y.stride + first, totals.at[part][r], lanes);
    }
  }
}

// Codes as integer dot products take them: less code_offset().
template <CodeKind kKind>
inline void unpack_for_dots(const std::byte* unit, int part, U32 (&quads)[kQuadsAUnit]) {
  unpack<kKind>(unit, part, quads);
  if constexpr (kKind == CodeKind::kU8 && kByteOffset == 128) {
    COHORT_UNROLL for (int i = 0; i < kQuadsAUnit; ++i) quads[i] = quads[i] ^ splat(0x80808080);
  }
}

// What makes up for the offset of the codes, over one or both halves of a group.
template <CodeKind kKind, int kFirstHalf, int kHalves>
inline U32 dot_start(const QuantizedGroup& x) {
  if constexpr (code_offset(kKind) == 0) return splat(0);
  // Unsigned, since rows that only fill up hold anything.
  uint32_t sum = static_cast<uint32_t>(x.code_sums[kFirstHalf]);
  if constexpr (kHalves == 2) sum += static_cast<uint32_t>(x.code_sums[1]);
  return splat(static_cast<uint32_t>(code_offset(kKind)) * sum);
}

// sums[r] += what integer dot products of a run of quads with row r give, times the row's scale: x has the rows' groups of
// one unit.
template <CodeKind kKind, int kFirst, int kCount, int kRows>
inline void add_dots(const U32 (&quads)[kQuadsAUnit], const QuantizedGroup* x, F32 (&sums)[kRows]) {
  constexpr int kHalf = kQuadsAUnit / 2;
  constexpr int kAtOnce = kQuadsAtOnce < kCount ? kQuadsAtOnce : kCount;
  U32 dots[kRows];
  COHORT_UNROLL for (int r = 0; r < kRows; ++r) dots[r] =
      dot_start<kKind, kFirst / kHalf, kCount / kHalf>(x[r]);
  COHORT_UNROLL for (int i = kFirst; i < kFirst + kCount; i += kAtOnce) {
    COHORT_UNROLL for (int r = 0; r < kRows; ++r) {
      dots[r] = dot_quads<kAtOnce, max_code(kKind)>(dots[r], quads + i, x[r].codes + 4 * i);
    }
  }
  COHORT_UNROLL for (int r = 0; r < kRows; ++r) sums[r] =
      fma(to_f32(dots[r]), broadcast(x[r].scale), sums[r]);
}

template <CodeKind kKind, int kRows>
inline void decode_affine(const PackedFormat& format, const PanelLayout& layout,
                          const std::byte* at, const QuantizedGroup* x, Totals<kRows>& totals) {
  for (int64_t unit = 0; unit < layout.units; unit += layout.units_a_block) {
    const std::byte* scales = at + layout.units_a_block * layout.unit_bytes;
    Totals<kRows> block;
    clear(block);
    float sums[kRows] = {};
    for (; at < scales; at += layout.unit_bytes, x += kRows) {
      for (int part = 0; part < kParts; ++part) {
        U32 quads[kQuadsAUnit];
        unpack_for_dots<kKind>(at, part, quads);
        add_dots<kKind, 0, kQuadsAUnit>(quads, x, block.at[part]);
      }
      COHORT_UNROLL for (int r = 0; r < kRows; ++r) sums[r] += x[r].sum;
    }
    for (int part = 0; part < kParts; ++part) {
      const ScaleBias s = affine_scale(format.scales, scales, part);
      COHORT_UNROLL for (int r = 0; r < kRows; ++r) {
        F32& total = totals.at[part][r];
        total = fma(s.bias, broadcast(sums[r]), fma(s.scale, block.at[part][r], total));
      }
    }
    prefetch(scales);
    at += layout.scale_bytes;
  }
}

template <int kRows>
inline void add_scaled(F32 scale, const F32 (&sums)[kRows], F32 (&totals)[kRows]) {
  COHORT_UNROLL for (int r = 0; r < kRows; ++r) totals[r] = fma(scale, sums[r], totals[r]);
}

// fp4: a unit has one group (mxfp4) or two (nvfp4).
template <bool kTwoGroups, int kRows>
inline void decode_fp4_unit(const Unit& at, const QuantizedGroup* x, Totals<kRows>& totals) {
  constexpr CodeKind kKind = CodeKind::kE2M1;
  constexpr int kHalf = kQuadsAUnit / 2;
  const F32 half = broadcast(0.5f);
  for (int part = 0; part < kParts; ++part) {
    U32 quads[kQuadsAUnit];
    unpack_for_dots<kKind>(at.codes, part, quads);
    const std::byte* scales = at.scales + part * kLanes;
    Totals<kRows> sums;
    clear(sums);
    if constexpr (kTwoGroups) {
      add_dots<kKind, 0, kHalf>(quads, x, sums.at[0]);
      add_scaled(half * load_e4m3(scales), sums.at[0], totals.at[part]);
      clear(sums);
      add_dots<kKind, kHalf, kHalf>(quads, x, sums.at[0]);
      add_scaled(half * load_e4m3(scales + kPanelRows), sums.at[0], totals.at[part]);
    } else {
      add_dots<kKind, 0, kQuadsAUnit>(quads, x, sums.at[0]);
      add_scaled(half * load_e8m0(scales), sums.at[0], totals.at[part]);
    }
  }
}

template <bool kTwoGroups, int kRows>
inline void decode_fp4(const PanelLayout& layout, const std::byte* at, const QuantizedGroup* x,
                       Totals<kRows>& totals) {
  constexpr int kUnitScales = kTwoGroups ? 2 * kPanelRows : kPanelRows;
  for (int64_t unit = 0; unit < layout.units; unit += layout.units_a_block) {
    const int64_t left = layout.units - unit;
    const std::byte* end =
        at + (left < layout.units_a_block ? left : layout.units_a_block) * layout.unit_bytes;
    const std::byte* scales = end;
    for (; at < end; at += layout.unit_bytes, scales += kUnitScales, x += kRows) {
      decode_fp4_unit<kTwoGroups>({at, scales}, x, totals);
    }
    prefetch(end);
    at += layout.scale_bytes;
  }
}

template <CodeKind kKind, int kRows>
void decode_i8_rows(const PackedMatrix& w, Range panels, const QuantizedRows& x, const Output& y) {
  const PanelLayout layout = panel_layout(w.format, w.columns);
  for (int64_t panel = panels.first; panel < panels.first + panels.count; ++panel) {
    const std::byte* at = w.panels + panel * layout.panel_bytes;
    Totals<kRows> totals;
    clear(totals);
    if constexpr (kKind != CodeKind::kE2M1) {
      decode_affine<kKind>(w.format, layout, at, x.data, totals);
    } else if (w.format.scales == ScaleKind::kE4M3) {
      decode_fp4<true>(layout, at, x.data, totals);
    } else {
      decode_fp4<false>(layout, at, x.data, totals);
    }
    store_totals(totals, w, panel, x.rows, y);
  }
}

template <CodeKind kKind>
void decode_i8_kind(const PackedMatrix& w, Range panels, const QuantizedRows& x, const Output& y) {
  if (x.rows == 1) return decode_i8_rows<kKind, 1>(w, panels, x, y);
  if (x.rows == 2) return decode_i8_rows<kKind, 2>(w, panels, x, y);
  if (x.rows <= 4) return decode_i8_rows<kKind, 4>(w, panels, x, y);
  decode_i8_rows<kKind, kMaxDecodeRows>(w, panels, x, y);
}

constexpr bool has_decode_i8(const PackedFormat& format) {
  return !is_plain(format.codes) && format.codes != CodeKind::kE4M3;
}

inline void decode_i8(const PackedMatrix& w, Range panels, const QuantizedRows& x,
                      const Output& y) {
  switch (w.format.codes) {
    case CodeKind::kU2: return decode_i8_kind<CodeKind::kU2>(w, panels, x, y);
    case CodeKind::kU3: return decode_i8_kind<CodeKind::kU3>(w, panels, x, y);
    case CodeKind::kU4: return decode_i8_kind<CodeKind::kU4>(w, panels, x, y);
    case CodeKind::kU5: return decode_i8_kind<CodeKind::kU5>(w, panels, x, y);
    case CodeKind::kU6: return decode_i8_kind<CodeKind::kU6>(w, panels, x, y);
    case CodeKind::kU8: return decode_i8_kind<CodeKind::kU8>(w, panels, x, y);
    case CodeKind::kE2M1: return decode_i8_kind<CodeKind::kE2M1>(w, panels, x, y);
    default: break;  // see has_decode_i8
  }
}

// ---- float activations ----

// A chain of dependent multiply-adds is slow alone, so several panels go side by side.
template <int kRows>
inline constexpr int kPanelsAtOnce = kRows == 1   ? 4
                                     : kRows == 2 ? 2
                                                  : 1;

template <int kRows>
struct FloatRows {
  const float* at[kRows];
};

template <CodeKind kKind, int kRows>
inline void decode_f32_unit(const PackedFormat& format, const Unit& unit, int columns,
                            int64_t first, const FloatRows<kRows>& x, Totals<kRows>& totals) {
  for (int part = 0; part < kParts; ++part) {
    F32(&sums)[kRows] = totals.at[part];
    visit_unit<kKind>(format, unit, part, columns, [&](int column, F32 weights) {
      COHORT_UNROLL for (int r = 0; r < kRows; ++r) {
        sums[r] = fma(weights, broadcast(x.at[r][first + column]), sums[r]);
      }
    });
  }
}

template <CodeKind kKind, int kRows, int kPanels>
inline void decode_f32_panels(const PackedMatrix& w, const PanelLayout& layout, int64_t panel,
                              const FloatRows<kRows>& x, int64_t x_rows, const Output& y) {
  Totals<kRows> totals[kPanels];
  for (Totals<kRows>& t : totals) clear(t);
  for (int64_t unit = 0; unit < layout.units; ++unit) {
    const int64_t first = unit * kUnitColumns;
    const int64_t left = w.columns - first;
    for (int p = 0; p < kPanels; ++p) {
      const Unit at =
          locate_unit(w.format, layout, w.panels + (panel + p) * layout.panel_bytes, unit);
      if (is_plain(kKind) && left >= kUnitColumns) {  // unrolled
        decode_f32_unit<kKind, kRows>(w.format, at, kUnitColumns, first, x, totals[p]);
      } else {
        decode_f32_unit<kKind, kRows>(w.format, at, static_cast<int>(left), first, x, totals[p]);
      }
    }
  }
  for (int p = 0; p < kPanels; ++p) store_totals(totals[p], w, panel + p, x_rows, y);
}

template <CodeKind kKind, int kRows>
void decode_f32_rows(const PackedMatrix& w, Range panels, const ActivationRows& x,
                     const Output& y) {
  const PanelLayout layout = panel_layout(w.format, w.columns);
  FloatRows<kRows> rows;
  for (int r = 0; r < kRows; ++r) rows.at[r] = x.data + (r < x.rows ? r : x.rows - 1) * x.stride;
  int64_t panel = panels.first;
  const int64_t end = panels.first + panels.count;
  for (; panel + kPanelsAtOnce<kRows> <= end; panel += kPanelsAtOnce<kRows>) {
    decode_f32_panels<kKind, kRows, kPanelsAtOnce<kRows>>(w, layout, panel, rows, x.rows, y);
  }
  for (; panel < end; ++panel)
    decode_f32_panels<kKind, kRows, 1>(w, layout, panel, rows, x.rows, y);
}

template <CodeKind kKind>
void decode_f32_kind(const PackedMatrix& w, Range panels, const ActivationRows& x,
                     const Output& y) {
  if (x.rows == 1) return decode_f32_rows<kKind, 1>(w, panels, x, y);
  if (x.rows == 2) return decode_f32_rows<kKind, 2>(w, panels, x, y);
  if (x.rows <= 4) return decode_f32_rows<kKind, 4>(w, panels, x, y);
  decode_f32_rows<kKind, kMaxDecodeRows>(w, panels, x, y);
}

inline void decode_f32(const PackedMatrix& w, Range panels, const ActivationRows& x,
                       const Output& y) {
  switch (w.format.codes) {
    case CodeKind::kU2: return decode_f32_kind<CodeKind::kU2>(w, panels, x, y);
    case CodeKind::kU3: return decode_f32_kind<CodeKind::kU3>(w, panels, x, y);
    case CodeKind::kU4: return decode_f32_kind<CodeKind::kU4>(w, panels, x, y);
    case CodeKind::kU5: return decode_f32_kind<CodeKind::kU5>(w, panels, x, y);
    case CodeKind::kU6: return decode_f32_kind<CodeKind::kU6>(w, panels, x, y);
    case CodeKind::kU8: return decode_f32_kind<CodeKind::kU8>(w, panels, x, y);
    case CodeKind::kE2M1: return decode_f32_kind<CodeKind::kE2M1>(w, panels, x, y);
    case CodeKind::kE4M3: return decode_f32_kind<CodeKind::kE4M3>(w, panels, x, y);
    case CodeKind::kBF16: return decode_f32_kind<CodeKind::kBF16>(w, panels, x, y);
    case CodeKind::kF16: return decode_f32_kind<CodeKind::kF16>(w, panels, x, y);
    case CodeKind::kF32: return decode_f32_kind<CodeKind::kF32>(w, panels, x, y);
  }
}
