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

// Results of kPanels panels side by side for kRows rows of activations.
template <int kRows, int kPanels = 1>
struct Totals {
  F32 at[kParts][kPanels][kRows];
};

template <int kRows, int kPanels>
inline void clear(Totals<kRows, kPanels>& totals) {
  for (int part = 0; part < kParts; ++part) {
    COHORT_UNROLL for (int p = 0; p < kPanels; ++p) {
      COHORT_UNROLL for (int r = 0; r < kRows; ++r) totals.at[part][p][r] = zero();
    }
  }
}

inline int lanes_left(int64_t rows, int64_t first) {
  const int64_t left = rows - first;
  return left >= kLanes ? kLanes : left > 0 ? static_cast<int>(left) : 0;
}

// Rows of activations past x_rows only fill up kRows and are not stored.
template <int kRows, int kPanels>
inline void store_totals(const Totals<kRows, kPanels>& totals, const PackedMatrix& w, int64_t panel,
                         int64_t x_rows, const Output& y) {
  for (int p = 0; p < kPanels; ++p) {
    for (int part = 0; part < kParts; ++part) {
      const int64_t first = (panel + p) * kPanelRows + part * kLanes;
      const int lanes = lanes_left(w.rows, first);
      for (int r = 0; r < kRows && r < x_rows; ++r) {
        store_part(y.data + r * y.stride + first, totals.at[part][p][r], lanes);
      }
    }
  }
}

// With more rows the work between two loads is too much for a CPU that streams by itself.
inline constexpr int kStreamRows = 2;

// What is read of the panels side by side: at `offset` of each.
struct Panels {
  const std::byte* first = nullptr;
  const PanelLayout* layout = nullptr;
  int64_t ahead = kPrefetchBytes;  // of all together

  const std::byte* at(int panel, int64_t offset) const {
    return first + panel * layout->panel_bytes + offset;
  }
};

// Codes as integer dot products take them: less code_offset().
template <CodeKind kKind>
inline void unpack_for_dots(const std::byte* unit, int part, int64_t ahead,
                            U32 (&quads)[kQuadsAUnit]) {
  unpack<kKind>(unit, part, ahead, quads);
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

// sums[p][r] += what integer dot products of a run of panel p's quads with row r give, times the row's scale: x has the
// rows' groups of one unit. A few rows at a time, so that their dots and the quads of all panels fit the registers.
template <CodeKind kKind, int kFirst, int kCount, int kRows, int kPanels>
inline void add_dots(const U32 (&quads)[kPanels][kQuadsAUnit], const QuantizedGroup* x,
                     F32 (&sums)[kPanels][kRows]) {
  constexpr int kHalf = kQuadsAUnit / 2;
  constexpr int kAtOnce = kQuadsAtOnce < kCount ? kQuadsAtOnce : kCount;
  constexpr int kRowsAtOnce = kPanels * kRows > 8 ? 8 / kPanels : kRows;
  COHORT_UNROLL for (int first = 0; first < kRows; first += kRowsAtOnce, x += kRowsAtOnce) {
    U32 dots[kPanels][kRowsAtOnce];
    COHORT_UNROLL for (int r = 0; r < kRowsAtOnce; ++r) {
      const U32 start = dot_start<kKind, kFirst / kHalf, kCount / kHalf>(x[r]);
      COHORT_UNROLL for (int p = 0; p < kPanels; ++p) dots[p][r] = start;
    }
    COHORT_UNROLL for (int i = kFirst; i < kFirst + kCount; i += kAtOnce) {
      COHORT_UNROLL for (int r = 0; r < kRowsAtOnce; ++r) {
        COHORT_UNROLL for (int p = 0; p < kPanels; ++p) {
          dots[p][r] =
              dot_quads<kAtOnce, max_code(kKind)>(dots[p][r], quads[p] + i, x[r].codes + 4 * i);
        }
      }
    }
    COHORT_UNROLL for (int r = 0; r < kRowsAtOnce; ++r) {
      const F32 scale = broadcast(x[r].scale);
      COHORT_UNROLL for (int p = 0; p < kPanels; ++p) {
        F32& sum = sums[p][first + r];
        sum = fma(to_f32(dots[p][r]), scale, sum);
      }
    }
  }
}

template <CodeKind kKind, int kRows, int kPanels>
inline void decode_affine(const PackedFormat& format, const Panels& panels, const QuantizedGroup* x,
                          Totals<kRows, kPanels>& totals) {
  const PanelLayout& layout = *panels.layout;
  const int64_t codes_bytes = layout.units_a_block * layout.unit_bytes;
  for (int64_t block = 0; block < layout.panel_bytes; block += layout.block_bytes) {
    const int64_t scales = block + codes_bytes;
    Totals<kRows, kPanels> products;
    clear(products);
    float sums[kRows] = {};
    for (int64_t unit = block; unit < scales; unit += layout.unit_bytes, x += kRows) {
      const int64_t ahead = prefetch_distance(layout, unit, kPanels, panels.ahead);
      for (int part = 0; part < kParts; ++part) {
        U32 quads[kPanels][kQuadsAUnit];
        COHORT_UNROLL for (int p = 0; p < kPanels; ++p) {
          unpack_for_dots<kKind>(panels.at(p, unit), part, ahead, quads[p]);
        }
        add_dots<kKind, 0, kQuadsAUnit>(quads, x, products.at[part]);
      }
      COHORT_UNROLL for (int r = 0; r < kRows; ++r) sums[r] += x[r].sum;
    }
    COHORT_UNROLL for (int p = 0; p < kPanels; ++p) {
      for (int part = 0; part < kParts; ++part) {
        const ScaleBias s = affine_scale(format.scales, panels.at(p, scales), part);
        COHORT_UNROLL for (int r = 0; r < kRows; ++r) {
          F32& total = totals.at[part][p][r];
          total = fma(s.bias, broadcast(sums[r]), fma(s.scale, products.at[part][p][r], total));
        }
      }
      prefetch(panels.at(p, scales), prefetch_distance(layout, scales, kPanels, panels.ahead));
    }
  }
}

// totals[p][r] += scale of panel p * sums[p][r]
template <int kRows, int kPanels>
inline void add_scaled(const F32 (&scales)[kPanels], const F32 (&sums)[kPanels][kRows],
                       F32 (&totals)[kPanels][kRows]) {
  COHORT_UNROLL for (int p = 0; p < kPanels; ++p) {
    COHORT_UNROLL for (int r = 0; r < kRows; ++r) {
      totals[p][r] = fma(scales[p], sums[p][r], totals[p][r]);
    }
  }
}

// fp4: half of the scales that stand at `offset` of each panel.
template <bool kE4M3, int kPanels>
inline void load_fp4_scales(const Panels& panels, int64_t offset, F32 (&scales)[kPanels]) {
  COHORT_UNROLL for (int p = 0; p < kPanels; ++p) {
    const std::byte* at = panels.at(p, offset);
    scales[p] = broadcast(0.5f) * (kE4M3 ? load_e4m3(at) : load_e8m0(at));
  }
}

// fp4: a unit has one group (mxfp4) or two (nvfp4).
template <bool kTwoGroups, int kRows, int kPanels>
inline void decode_fp4_unit(const Panels& panels, int64_t codes, int64_t scales,
                            const QuantizedGroup* x, Totals<kRows, kPanels>& totals) {
  constexpr CodeKind kKind = CodeKind::kE2M1;
  constexpr int kCount = kTwoGroups ? kQuadsAUnit / 2 : kQuadsAUnit;
  const int64_t ahead = prefetch_distance(*panels.layout, codes, kPanels, panels.ahead);
  for (int part = 0; part < kParts; ++part) {
    U32 quads[kPanels][kQuadsAUnit];
    COHORT_UNROLL for (int p = 0; p < kPanels; ++p) {
      unpack_for_dots<kKind>(panels.at(p, codes), part, ahead, quads[p]);
    }
    const int64_t at = scales + part * kLanes;
    F32 by[kPanels];
    load_fp4_scales<kTwoGroups>(panels, at, by);
    Totals<kRows, kPanels> sums;
    clear(sums);
    add_dots<kKind, 0, kCount>(quads, x, sums.at[0]);
    add_scaled(by, sums.at[0], totals.at[part]);
    if constexpr (kTwoGroups) {
      load_fp4_scales<kTwoGroups>(panels, at + kPanelRows, by);
      clear(sums);
      add_dots<kKind, kCount, kCount>(quads, x, sums.at[0]);
      add_scaled(by, sums.at[0], totals.at[part]);
    }
  }
}

template <bool kTwoGroups, int kRows, int kPanels>
inline void decode_fp4(const Panels& panels, const QuantizedGroup* x,
                       Totals<kRows, kPanels>& totals) {
  constexpr int kUnitScales = kTwoGroups ? 2 * kPanelRows : kPanelRows;
  const PanelLayout& layout = *panels.layout;
  int64_t left = layout.units;
  for (int64_t block = 0; block < layout.panel_bytes; block += layout.block_bytes) {
    const int64_t units = left < layout.units_a_block ? left : layout.units_a_block;
    const int64_t end = block + units * layout.unit_bytes;
    int64_t scales = end;
    for (int64_t unit = block; unit < end; unit += layout.unit_bytes, scales += kUnitScales) {
      decode_fp4_unit<kTwoGroups>(panels, unit, scales, x, totals);
      x += kRows;
    }
    COHORT_UNROLL for (int p = 0; p < kPanels; ++p) {
      prefetch(panels.at(p, end), prefetch_distance(layout, end, kPanels, panels.ahead));
    }
    left -= units;
  }
}

// kPanels from `panel` on, to be multiplied with kRows.
template <int kRows, int kPanels>
inline Panels panels_at(const PackedMatrix& w, const PanelLayout& layout, int64_t panel) {
  constexpr bool kStream = kPanels == 1 && kRows <= kStreamRows;
  return {w.panels + panel * layout.panel_bytes, &layout,
          kStream ? read_habits().stream_ahead : read_habits().others_ahead};
}

template <CodeKind kKind, int kRows, int kPanels>
inline void decode_i8_panels(const PackedMatrix& w, const PanelLayout& layout, int64_t panel,
                             const QuantizedRows& x, const Output& y) {
  const Panels panels = panels_at<kRows, kPanels>(w, layout, panel);
  Totals<kRows, kPanels> totals;
  clear(totals);
  if constexpr (kKind != CodeKind::kE2M1) {
    decode_affine<kKind>(w.format, panels, x.data, totals);
  } else if (w.format.scales == ScaleKind::kE4M3) {
    decode_fp4<true>(panels, x.data, totals);
  } else {
    decode_fp4<false>(panels, x.data, totals);
  }
  store_totals(totals, w, panel, x.rows, y);
}

template <CodeKind kKind, int kRows, int kPanels>
void decode_i8_rows(const PackedMatrix& w, Range panels, const QuantizedRows& x, const Output& y) {
  const PanelLayout layout = panel_layout(w.format, w.columns);
  int64_t panel = panels.first;
  const int64_t end = panels.first + panels.count;
  for (; panel + kPanels <= end; panel += kPanels)
    decode_i8_panels<kKind, kRows, kPanels>(w, layout, panel, x, y);
  if constexpr (kPanels > 1) {
    if (panel < end) decode_i8_panels<kKind, kRows, 1>(w, layout, panel, x, y);
  }
}

template <CodeKind kKind>
void decode_i8_kind(const PackedMatrix& w, Range panels, const QuantizedRows& x, const Output& y) {
  constexpr auto panels_of = [](int rows) { return rows < kDotRowsOfPairs ? 1 : 2; };
  const bool in_pairs = read_habits().in_pairs;
  if (x.rows == 1) {
    return in_pairs ? decode_i8_rows<kKind, 1, 2>(w, panels, x, y)
                    : decode_i8_rows<kKind, 1, panels_of(1)>(w, panels, x, y);
  }
  if (x.rows == 2) {
    return in_pairs ? decode_i8_rows<kKind, 2, 2>(w, panels, x, y)
                    : decode_i8_rows<kKind, 2, panels_of(2)>(w, panels, x, y);
  }
  if (x.rows <= 4) return decode_i8_rows<kKind, 4, panels_of(4)>(w, panels, x, y);
  decode_i8_rows<kKind, kMaxDecodeRows, panels_of(kMaxDecodeRows)>(w, panels, x, y);
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

// One unit of each panel. Plain values are cheap to widen, so panels alternate line by line, which leaves no chain waiting;
// codes go panel by panel.
template <CodeKind kKind, int kRows, int kPanels>
inline void decode_f32_units(const PackedFormat& format, const Unit (&units)[kPanels], int columns,
                             int64_t first, const FloatRows<kRows>& x,
                             Totals<kRows, kPanels>& totals) {
  for (int part = 0; part < kParts; ++part) {
    const auto add_column = [&](int p, int column, F32 weights) {
      COHORT_UNROLL for (int r = 0; r < kRows; ++r) {
        F32& sum = totals.at[part][p][r];
        sum = fma(weights, broadcast(x.at[r][first + column]), sum);
      }
    };
    if constexpr (is_plain(kKind)) {
      COHORT_UNROLL for (int k = 0; k < columns; k += kLineColumns<kKind>) {
        COHORT_UNROLL for (int p = 0; p < kPanels; ++p) {
          visit_line<kKind>(units[p], part, k, columns,
                            [&](int column, F32 weights) { add_column(p, column, weights); });
        }
      }
    } else {
      COHORT_UNROLL for (int p = 0; p < kPanels; ++p) {
        visit_unit<kKind>(format, units[p], part, columns,
                          [&](int column, F32 weights) { add_column(p, column, weights); });
      }
    }
  }
}

template <CodeKind kKind, int kRows, int kPanels>
inline void decode_f32_panels(const PackedMatrix& w, const PanelLayout& layout, int64_t panel,
                              const FloatRows<kRows>& x, int64_t x_rows, const Output& y) {
  Totals<kRows, kPanels> totals;
  clear(totals);
  for (int64_t unit = 0; unit < layout.units; ++unit) {
    const int64_t first = unit * kUnitColumns;
    const int64_t left = w.columns - first;
    Unit units[kPanels];
    COHORT_UNROLL for (int p = 0; p < kPanels; ++p) {
      units[p] = locate_unit(w.format, layout, w.panels + (panel + p) * layout.panel_bytes, unit,
                             kPanels, read_habits().others_ahead);
    }
    if (is_plain(kKind) && left >= kUnitColumns) {  // unrolled
      decode_f32_units<kKind, kRows>(w.format, units, kUnitColumns, first, x, totals);
    } else {
      decode_f32_units<kKind, kRows>(w.format, units, static_cast<int>(left), first, x, totals);
    }
  }
  store_totals(totals, w, panel, x_rows, y);
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
