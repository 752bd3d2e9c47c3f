// Decode of weights that eight bits do not hold, bf16, f16 (rounded to bf16, as in a prefill) and fp8 E4M3, by dot products
// of bf16 pairs. Summed in several chains, so that even one panel at a time keeps the multipliers busy. Needs AVX-512 BF16
// and VBMI.

inline void round_activation(const float* x, int64_t columns, int64_t stride, Bf16Group* out) {
  for (int64_t k = 0; k < columns; k += kActivationGroup, out += stride) {
    const F32 low = load_columns(x + k, columns - k);
    const F32 high = load_columns(x + k + kLanes, columns - k - kLanes);
    _mm512_storeu_si512(out->pairs, bf16_line(low, high));
  }
}

inline __m512bh broadcast_pair(const Bf16Group& group, int pair) {
  return reinterpret_cast<__m512bh>(_mm512_set1_epi32(static_cast<int>(group.pairs[pair])));
}

// sums[chain][r]
template <int kRows>
struct ChainSums {
  F32 at[2][kRows];

  void clear() {
    for (auto& chain : at) {
      COHORT_UNROLL for (int r = 0; r < kRows; ++r) chain[r] = zero();
    }
  }
  void add(int chain, __m512i weights, const Bf16Group* x, int pair) {
    COHORT_UNROLL for (int r = 0; r < kRows; ++r) {
      F32& sum = at[chain][r];
      sum.v =
          _mm512_dpbf16_ps(sum.v, reinterpret_cast<__m512bh>(weights), broadcast_pair(x[r], pair));
    }
  }
  F32 total(int r) const { return at[0][r] + at[1][r]; }
};

// ---- bf16 and f16 ----

// A line holds two columns, of bf16 row by row and of f16 one after the other.
template <CodeKind kKind>
inline __m512i load_pairs(const std::byte* line, int64_t ahead) {
  if constexpr (kKind == CodeKind::kBF16) return load_line(line, 0, ahead).v;
  prefetch(line, ahead);
  const auto* values = reinterpret_cast<const uint16_t*>(line);
  return bf16_pairs(load_f16(values), load_f16(values + kPanelRows));
}

template <CodeKind kKind, int kRows, int kPanels>
inline void decode_plain_panels(const Panels& panels, const Bf16Group* x,
                                Totals<kRows, kPanels>& totals) {
  const PanelLayout& layout = *panels.layout;
  ChainSums<kRows> sums[kPanels];
  for (auto& panel : sums) panel.clear();
  for (int64_t unit = 0; unit < layout.panel_bytes; unit += layout.unit_bytes, x += kRows) {
    const int64_t ahead = prefetch_distance(layout, unit, kPanels, panels.ahead);
    COHORT_UNROLL for (int pair = 0; pair < kUnitColumns / 2; ++pair) {
      COHORT_UNROLL for (int p = 0; p < kPanels; ++p) {
        const std::byte* line = panels.at(p, unit + pair * kLineBytes);
        sums[p].add(pair % 2, load_pairs<kKind>(line, ahead), x, pair);
      }
    }
  }
  COHORT_UNROLL for (int p = 0; p < kPanels; ++p) {
    COHORT_UNROLL for (int r = 0; r < kRows; ++r) totals.at[0][p][r] = sums[p].total(r);
  }
}

// ---- fp8 ----

// The bf16 of each E4M3 magnitude: its low and its high byte.
struct E4M3Table {
  alignas(64) uint8_t low[128];
  alignas(64) uint8_t high[128];
};

constexpr E4M3Table make_e4m3_table() {
  constexpr int kBias = 127 - 7, kSmallestExponent = kBias + 1 - 3;  // that of 2^-9
  E4M3Table table{};
  for (int code = 0; code < 128; ++code) {
    int exponent = (code >> 3) + kBias, mantissa = code & 7;
    if (code < 8) {  // mantissa * 2^-9
      int high_bit = 0;
      while (mantissa >> (high_bit + 1) != 0) ++high_bit;
      exponent = code == 0 ? 0 : kSmallestExponent + high_bit;
      mantissa = mantissa << (3 - high_bit) & 7;
    }
    const int bits = exponent << 7 | mantissa << 4;
    table.low[code] = static_cast<uint8_t>(bits);
    table.high[code] = static_cast<uint8_t>(bits >> 8);
  }
  return table;
}
inline constexpr E4M3Table kE4M3Table = make_e4m3_table();

// Which bytes, of low bytes and then of high ones, make bf16 pairs of columns 0 and 1 of each quad; those of 2 and 3 are two
// further on.
struct PairOrder {
  alignas(64) uint8_t bytes[64];
};
constexpr PairOrder make_pair_order(int first_column) {
  PairOrder order{};
  for (int i = 0; i < 64; ++i) {
    const int column = i / 4 * 4 + first_column + i / 2 % 2;
    order.bytes[i] = static_cast<uint8_t>(i % 2 * 64 + column);
  }
  return order;
}
inline constexpr PairOrder kPairOrders[2] = {make_pair_order(0), make_pair_order(2)};

class E4M3Widener {
 public:
  struct Pairs {
    __m512i first, second;  // columns 0 and 1 of each quad; 2 and 3
  };
  Pairs widen(__m512i codes) const {
    constexpr int kSelect = 0xca;  // a ? b : c, bit by bit
    const __m512i low = _mm512_permutex2var_epi8(low_[0], codes, low_[1]);
    const __m512i magnitude = _mm512_permutex2var_epi8(high_[0], codes, high_[1]);
    const __m512i high =
        _mm512_ternarylogic_epi32(_mm512_set1_epi8(0x7f), magnitude, codes, kSelect);
    return {_mm512_permutex2var_epi8(low, orders_[0], high),
            _mm512_permutex2var_epi8(low, orders_[1], high)};
  }

 private:
  static __m512i table(const uint8_t* bytes) { return _mm512_load_si512(bytes); }

  __m512i low_[2] = {table(kE4M3Table.low), table(kE4M3Table.low + 64)};
  __m512i high_[2] = {table(kE4M3Table.high), table(kE4M3Table.high + 64)};
  __m512i orders_[2] = {table(kPairOrders[0].bytes), table(kPairOrders[1].bytes)};
};

template <int kRows, int kPanels>
inline void decode_e4m3_panels(const Panels& panels, const Bf16Group* x,
                               Totals<kRows, kPanels>& totals) {
  const PanelLayout& layout = *panels.layout;
  const E4M3Widener widener;
  int64_t left = layout.units;
  for (int64_t block = 0; block < layout.panel_bytes; block += layout.block_bytes) {
    const int64_t units = left < layout.units_a_block ? left : layout.units_a_block;
    const int64_t end = block + units * layout.unit_bytes;
    int64_t scales = end;
    for (int64_t unit = block; unit < end; unit += layout.unit_bytes, scales += kPanelRows) {
      const int64_t ahead = prefetch_distance(layout, unit, kPanels, panels.ahead);
      ChainSums<kRows> sums[kPanels];
      for (auto& panel : sums) panel.clear();
      COHORT_UNROLL for (int quad = 0; quad < kQuadsAUnit; ++quad) {
        COHORT_UNROLL for (int p = 0; p < kPanels; ++p) {
          const std::byte* line = panels.at(p, unit + quad * kLineBytes);
          const E4M3Widener::Pairs pairs = widener.widen(load_line(line, 0, ahead).v);
          sums[p].add(0, pairs.first, x, 2 * quad);
          sums[p].add(1, pairs.second, x, 2 * quad + 1);
        }
      }
      COHORT_UNROLL for (int p = 0; p < kPanels; ++p) {
        const F32 scale = load_e8m0(panels.at(p, scales));
        COHORT_UNROLL for (int r = 0; r < kRows; ++r) {
          F32& total = totals.at[0][p][r];
          total = fma(scale, sums[p].total(r), total);
        }
      }
      x += kRows;
    }
    COHORT_UNROLL for (int p = 0; p < kPanels; ++p) {
      prefetch(panels.at(p, end), prefetch_distance(layout, end, kPanels, panels.ahead));
    }
    left -= units;
  }
}

// ---- the whole product ----

template <int kRows, int kPanels>
inline void decode_bf16_panels(const PackedMatrix& w, const PanelLayout& layout, int64_t panel,
                               const Bf16Rows& x, const Output& y) {
  const Panels panels = panels_at<kRows, kPanels>(w, layout, panel);
  Totals<kRows, kPanels> totals;
  clear(totals);
  switch (w.format.codes) {
    case CodeKind::kE4M3: decode_e4m3_panels(panels, x.data, totals); break;
    case CodeKind::kF16: decode_plain_panels<CodeKind::kF16>(panels, x.data, totals); break;
    default: decode_plain_panels<CodeKind::kBF16>(panels, x.data, totals); break;
  }
  store_totals(totals, w, panel, x.rows, y);
}

template <int kRows, int kPanels>
void decode_bf16_rows(const PackedMatrix& w, Range panels, const Bf16Rows& x, const Output& y) {
  const PanelLayout layout = panel_layout(w.format, w.columns);
  int64_t panel = panels.first;
  const int64_t end = panels.first + panels.count;
  for (; panel + kPanels <= end; panel += kPanels)
    decode_bf16_panels<kRows, kPanels>(w, layout, panel, x, y);
  if constexpr (kPanels > 1) {
    if (panel < end) decode_bf16_panels<kRows, 1>(w, layout, panel, x, y);
  }
}

template <int kRows>
void decode_bf16_few_rows(const PackedMatrix& w, Range panels, const Bf16Rows& x, const Output& y) {
  if (read_habits().in_pairs) return decode_bf16_rows<kRows, 2>(w, panels, x, y);
  decode_bf16_rows<kRows, 1>(w, panels, x, y);
}

inline void decode_bf16(const PackedMatrix& w, Range panels, const Bf16Rows& x, const Output& y) {
  if (x.rows == 1) return decode_bf16_few_rows<1>(w, panels, x, y);
  if (x.rows == 2) return decode_bf16_few_rows<2>(w, panels, x, y);
  if (x.rows <= 4) return decode_bf16_rows<4, 1>(w, panels, x, y);
  decode_bf16_rows<kMaxDecodeRows, 1>(w, panels, x, y);
}

constexpr bool has_decode_bf16(const PackedFormat& format) {
  return format.codes == CodeKind::kBF16 || format.codes == CodeKind::kF16 ||
         format.codes == CodeKind::kE4M3;
}

inline constexpr MatmulKernels with_decode_bf16(MatmulKernels kernels) {
  kernels.has_decode_bf16 = has_decode_bf16;
  kernels.round_activation = round_activation;
  kernels.decode_bf16 = decode_bf16;
  return kernels;
}
