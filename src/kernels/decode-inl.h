// Few rows of activations: the weights stream by once, and every row of activations meets them in registers.
// Included by each isa/*.cc inside its own namespace.

// ---- activations in 8 bits ----

inline F32 load_columns(const float* x, int64_t left) {
  return left >= kLanes ? load(x) : load_part(x, left > 0 ? static_cast<int>(left) : 0);
}

// Rounds one group and returns its scale; `code_sums` has one sum for each half.
inline float quantize_group(const float* x, int64_t left, int8_t* codes, int32_t* code_sums) {
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
    store_i8(codes + i * kLanes, rounded);
    F32& half = sums[2 * i / kVectors];
    half = half + rounded;
  }
  code_sums[0] = static_cast<int32_t>(sum(sums[0]));
  code_sums[1] = static_cast<int32_t>(sum(sums[1]));
  return scale;
}

inline void quantize_activation(const float* x, int64_t columns, const QuantizedActivation& out) {
  for (int64_t group = 0; group * kActivationGroup < columns; ++group) {
    const int64_t k = group * kActivationGroup;
    const float scale =
        quantize_group(x + k, columns - k, out.codes + k, out.code_sums + 2 * group);
    out.scales[group] = scale;
    out.sums[group] =
        scale * static_cast<float>(out.code_sums[2 * group] + out.code_sums[2 * group + 1]);
  }
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

// Rows of activations past x_rows are copies of the last one and are not stored.
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

template <int kRows>
struct QuantizedRows {
  QuantizedActivation at[kRows];
};

// totals += scale * (codes of a run of quads) . x, for one vector of rows of W
template <CodeKind kKind, int kFirst, int kCount, int kRows>
inline void add_dots(const U32 (&quads)[kQuadsAUnit], F32 scale, int64_t unit,
                     const QuantizedRows<kRows>& x, F32 (&totals)[kRows]) {
  constexpr int kHalf = kQuadsAUnit / 2;
  COHORT_UNROLL for (int r = 0; r < kRows; ++r) {
    U32 start = splat(0);
    if constexpr (code_offset(kKind) != 0) {
      const int32_t* sums = x.at[r].code_sums + 2 * unit;
      int32_t code_sum = sums[kFirst / kHalf];
      if constexpr (kCount > kHalf) code_sum += sums[1];
      start = splat(static_cast<uint32_t>(code_offset(kKind) * code_sum));
    }
    const int8_t* codes = x.at[r].codes + unit * kUnitColumns + 4 * kFirst;
    const U32 dot = dot_quads<kCount, max_code(kKind)>(start, quads + kFirst, codes);
    totals[r] = fma(to_f32(dot), scale * broadcast(x.at[r].scales[unit]), totals[r]);
  }
}

template <CodeKind kKind, int kRows>
inline void decode_affine(const PackedFormat& format, const PanelLayout& layout,
                          const std::byte* at, const QuantizedRows<kRows>& x,
                          Totals<kRows>& totals) {
  for (int64_t unit = 0; unit < layout.units;) {
    const std::byte* scales = at + layout.units_a_block * layout.unit_bytes;
    ScaleBias s[kParts];
    for (int part = 0; part < kParts; ++part) s[part] = affine_scale(format.scales, scales, part);
    float sums[kRows] = {};
    for (; at < scales; at += layout.unit_bytes, ++unit) {
      for (int part = 0; part < kParts; ++part) {
        U32 quads[kQuadsAUnit];
        unpack<kKind>(at, part, quads);
        add_dots<kKind, 0, kQuadsAUnit, kRows>(quads, s[part].scale, unit, x, totals.at[part]);
      }
      COHORT_UNROLL for (int r = 0; r < kRows; ++r) sums[r] += x.at[r].sums[unit];
    }
    for (int part = 0; part < kParts; ++part) {
      COHORT_UNROLL for (int r = 0; r < kRows; ++r) {
        totals.at[part][r] = fma(s[part].bias, broadcast(sums[r]), totals.at[part][r]);
      }
    }
    prefetch(scales);
    at += layout.scale_bytes;
  }
}

// fp4: a unit has one group (mxfp4) or two (nvfp4).
template <bool kTwoGroups, int kRows>
inline void decode_fp4_unit(const Unit& at, int64_t unit, const QuantizedRows<kRows>& x,
                            Totals<kRows>& totals) {
  constexpr CodeKind kKind = CodeKind::kE2M1;
  constexpr int kHalf = kQuadsAUnit / 2;
  const F32 half = broadcast(0.5f);
  for (int part = 0; part < kParts; ++part) {
    U32 quads[kQuadsAUnit];
    unpack<kKind>(at.codes, part, quads);
    const std::byte* scales = at.scales + part * kLanes;
    if constexpr (kTwoGroups) {
      add_dots<kKind, 0, kHalf, kRows>(quads, half * load_e4m3(scales), unit, x, totals.at[part]);
      add_dots<kKind, kHalf, kHalf, kRows>(quads, half * load_e4m3(scales + kPanelRows), unit, x,
                                           totals.at[part]);
    } else {
      add_dots<kKind, 0, kQuadsAUnit, kRows>(quads, half * load_e8m0(scales), unit, x,
                                             totals.at[part]);
    }
  }
}

template <bool kTwoGroups, int kRows>
inline void decode_fp4(const PanelLayout& layout, const std::byte* at,
                       const QuantizedRows<kRows>& x, Totals<kRows>& totals) {
  constexpr int kUnitScales = kTwoGroups ? 2 * kPanelRows : kPanelRows;
  for (int64_t unit = 0; unit < layout.units;) {
    const int64_t left = layout.units - unit;
    const std::byte* end =
        at + (left < layout.units_a_block ? left : layout.units_a_block) * layout.unit_bytes;
    const std::byte* scales = end;
    for (; at < end; at += layout.unit_bytes, scales += kUnitScales, ++unit) {
      decode_fp4_unit<kTwoGroups, kRows>({at, scales}, unit, x, totals);
    }
    prefetch(end);
    at += layout.scale_bytes;
  }
}

template <CodeKind kKind, int kRows>
void decode_i8_rows(const PackedMatrix& w, Range panels, std::span<const QuantizedActivation> x,
                    const Output& y) {
  const PanelLayout layout = panel_layout(w.format, w.columns);
  const auto x_rows = static_cast<int64_t>(x.size());
  QuantizedRows<kRows> rows;
  for (int r = 0; r < kRows; ++r) rows.at[r] = x.data()[r < x_rows ? r : x_rows - 1];
  for (int64_t panel = panels.first; panel < panels.first + panels.count; ++panel) {
    const std::byte* at = w.panels + panel * layout.panel_bytes;
    Totals<kRows> totals;
    clear(totals);
    if constexpr (kKind != CodeKind::kE2M1) {
      decode_affine<kKind, kRows>(w.format, layout, at, rows, totals);
    } else if (w.format.scales == ScaleKind::kE4M3) {
      decode_fp4<true, kRows>(layout, at, rows, totals);
    } else {
      decode_fp4<false, kRows>(layout, at, rows, totals);
    }
    store_totals(totals, w, panel, x_rows, y);
  }
}

template <CodeKind kKind>
void decode_i8_kind(const PackedMatrix& w, Range panels, std::span<const QuantizedActivation> x,
                    const Output& y) {
  if (x.size() == 1) return decode_i8_rows<kKind, 1>(w, panels, x, y);
  if (x.size() == 2) return decode_i8_rows<kKind, 2>(w, panels, x, y);
  if (x.size() <= 4) return decode_i8_rows<kKind, 4>(w, panels, x, y);
  decode_i8_rows<kKind, kMaxDecodeRows>(w, panels, x, y);
}

constexpr bool has_decode_i8(const PackedFormat& format) {
  return !is_plain(format.codes) && format.codes != CodeKind::kE4M3;
}

inline void decode_i8(const PackedMatrix& w, Range panels, std::span<const QuantizedActivation> x,
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
    COHORT_UNROLL for (int p = 0; p < kPanels; ++p) {
      const Unit at =
          locate_unit(w.format, layout, w.panels + (panel + p) * layout.panel_bytes, unit);
      if (first + kUnitColumns <= w.columns) {
        decode_f32_unit<kKind, kRows>(w.format, at, kUnitColumns, first, x, totals[p]);
      } else {
        decode_f32_unit<kKind, kRows>(w.format, at, static_cast<int>(w.columns - first), first, x,
                                      totals[p]);
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
