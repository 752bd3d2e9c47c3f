// Many rows of activations through AMX: a tile of 16 rows of 32 columns of activations in bf16 times a tile of 32 columns of
// a panel, which is as wide as a tile: 16 rows of weights.
//
// Tiles is the machine's registers (tiles_amx-inl.h), or what imitates them in tests: eight, of which 0 to 3 sum, 4 and 5
// hold activations, 6 and 7 weights.
//
// Activations are packed by tiles of 16 rows, filled up with zeros: for each block of columns the rows one after the other,
// 64 bytes each.
//
// The order of the loops. Weights of kAmxPanels panels and kAmxUnits units are widened at once, 128 KB of the 2 MB that the
// second-level cache of these CPUs has; two tiles of rows over those columns are 16 KB and stay in the first level while
// they meet them all. So each weight is widened once, and activations are read from afar once for each kAmxPanels panels,
// fetched ahead meanwhile.
//
// There is no way in 8 bits: scales of groups would be applied to sums after each product or two, which takes longer than
// the products.

inline constexpr int kAmxRows = kPairRows;
inline constexpr int kAmxRowBytes = kPairRowBytes;
inline constexpr int kAmxTileBytes = kPairTileBytes;
static_assert(kPanelRows == kAmxRows && kTilePanels == 2);

// ---- where results go ----

// One tile of results, by way of a buffer where it does not fit y.
struct AmxOutput {
  float* y = nullptr;
  int64_t stride = 0;
  int64_t rows = 0, columns = 0;  // of y that exist, from here on

  AmxOutput at(int64_t row, int64_t column) const {
    return {y + row * stride + column, stride, rows - row, columns - column};
  }
  bool is_whole() const { return rows >= kAmxRows && columns >= kAmxRows; }
};

struct alignas(kLineBytes) AmxBuffer {
  float values[kAmxRows][kAmxRows];
};

inline void load_results(const AmxOutput& from, AmxBuffer& out) {
  for (int64_t row = 0; row < kAmxRows; ++row) {
    const int lanes = row < from.rows ? lanes_left(from.columns, 0) : 0;
    store(out.values[row], lanes > 0 ? load_part(from.y + row * from.stride, lanes) : zero());
  }
}
inline void store_results(const AmxBuffer& from, const AmxOutput& out) {
  for (int64_t row = 0; row < kAmxRows && row < out.rows; ++row) {
    store_part(out.y + row * out.stride, load(from.values[row]), lanes_left(out.columns, 0));
  }
}

template <class Tiles, int kTile>
void begin_sums(const AmxOutput& out, bool add) {
  if (!add) return Tiles::template zero<kTile>();
  if (out.is_whole()) return Tiles::template load<kTile>(out.y, out.stride * 4);
  AmxBuffer buffer;
  load_results(out, buffer);
  Tiles::template load<kTile>(buffer.values, kAmxRowBytes);
}

template <class Tiles, int kTile>
void end_sums(const AmxOutput& out) {
  if (out.rows <= 0 || out.columns <= 0) return;
  if (out.is_whole()) return Tiles::template store<kTile>(out.y, out.stride * 4);
  AmxBuffer buffer;
  Tiles::template store<kTile>(buffer.values, kAmxRowBytes);
  store_results(buffer, out);
}

// ---- activations ----

inline constexpr int64_t kAmxColumns = kAmxRowBytes / 2;  // of a tile of activations: one unit
static_assert(kAmxColumns == kUnitColumns);

inline size_t amx_packed_bytes(int64_t rows, int64_t columns) {
  return static_cast<size_t>(row_tiles(rows) * units_of(columns) * kAmxTileBytes);
}

// ---- products ----

inline constexpr int64_t kAmxUnits = 8;  // of columns widened at once
inline constexpr int64_t kAmxPanels = 16;
inline constexpr int64_t kAmxUnitWords = kStepsAUnit<Bf16Math> * kTilePanels * kPanelRows;
inline constexpr int64_t kAmxPairWords = kAmxUnits * kAmxUnitWords;  // of two panels

// Tiles of activations over some units. `next` are those that come after them, of which each product with a pair of panels
// fetches a part; never read beyond that.
struct AmxRows {
  const std::byte* data = nullptr;
  int64_t tile_bytes = 0;  // from one tile to the next
  const std::byte* next = nullptr;
};

// One or two tiles of rows with two panels over so many units. Not inlined: the loop needs few registers, and gets them.
template <class Tiles, bool kTwo>
__attribute__((noinline)) void amx_multiply_block(const AmxRows& rows, const uint32_t* weights,
                                                  int64_t units, bool add, const AmxOutput& out) {
  constexpr int kFetched = kAmxTileBytes / (kAmxPanels / kTilePanels);  // of each unit and tile
  const std::byte *a = rows.data, *next = rows.next;
  constexpr int64_t kStep = kTilePanels * kPanelRows;  // from one pair of columns to the next
  begin_sums<Tiles, 0>(out, add);
  begin_sums<Tiles, 1>(out.at(0, kPanelRows), add);
  if constexpr (kTwo) {
    begin_sums<Tiles, 2>(out.at(kAmxRows, 0), add);
    begin_sums<Tiles, 3>(out.at(kAmxRows, kPanelRows), add);
  }
#pragma GCC unroll 1
  for (const uint32_t* end = weights + units * kAmxUnitWords; weights < end;
       weights += kAmxUnitWords, a += kAmxTileBytes, next += kFetched) {
    COHORT_UNROLL for (int line = 0; line < kFetched; line += kLineBytes) {
      __builtin_prefetch(next + line, 0, 2);
      if constexpr (kTwo) __builtin_prefetch(next + rows.tile_bytes + line, 0, 2);
    }
    Tiles::template load<4>(a, kAmxRowBytes);
    Tiles::template load<6>(weights, kStep * 4);
    Tiles::template load<7>(weights + kPanelRows, kStep * 4);
    Tiles::template dot_bf16<0, 4, 6>();
    Tiles::template dot_bf16<1, 4, 7>();
    if constexpr (kTwo) {
      Tiles::template load<5>(a + rows.tile_bytes, kAmxRowBytes);
      Tiles::template dot_bf16<2, 5, 6>();
      Tiles::template dot_bf16<3, 5, 7>();
    }
  }
  end_sums<Tiles, 0>(out);
  end_sums<Tiles, 1>(out.at(0, kPanelRows));
  if constexpr (kTwo) {
    end_sums<Tiles, 2>(out.at(kAmxRows, 0));
    end_sums<Tiles, 3>(out.at(kAmxRows, kPanelRows));
  }
}

// Some units of some panels, pair by pair; columns that fill up the last unit are zero.
inline void amx_widen(const PackedMatrix& w, const PanelLayout& layout, Range panels, Range units,
                      uint32_t* out) {
  const WidenTile<Bf16Math> widen = widen_tile_of<Bf16Math>(w.format.codes);
  const bool ends_inside =
      units.first + units.count == layout.units && w.columns % kUnitColumns != 0;
  for (int64_t p = 0; p < panels.count; p += kTilePanels, out += kAmxPairWords) {
    const int64_t left = panels.count - p;
    if (ends_inside) std::memset(out + (units.count - 1) * kAmxUnitWords, 0, kAmxUnitWords * 4);
    widen(w, layout, {panels.first + p, left < kTilePanels ? left : kTilePanels}, units, out);
  }
}

template <class Tiles>
void amx_multiply_panels(const PackedMatrix& w, const PanelLayout& layout, Range panels,
                         const std::byte* packed, int64_t rows, const Output& y) {
  alignas(kLineBytes) uint32_t weights[kAmxPanels / kTilePanels * kAmxPairWords];
  const int64_t tile_bytes = layout.units * kAmxTileBytes;
  const int64_t column = panels.first * kPanelRows, end = column + panels.count * kPanelRows;
  const int64_t columns = (end < w.rows ? end : w.rows) - column;
  for (int64_t unit = 0; unit < layout.units; unit += kAmxUnits) {
    const int64_t left = layout.units - unit;
    const Range units = {unit, left < kAmxUnits ? left : kAmxUnits};
    amx_widen(w, layout, panels, units, weights);
    for (int64_t row = 0; row < rows; row += 2 * kAmxRows) {
      AmxRows a = {packed + row / kAmxRows * tile_bytes + unit * kAmxTileBytes, tile_bytes};
      a.next = row + 2 * kAmxRows < rows ? a.data + 2 * tile_bytes
                                         : packed + (unit + units.count) * kAmxTileBytes;
      const AmxOutput out = {y.data + row * y.stride + column, y.stride, rows - row, columns};
      const auto multiply =
          out.rows > kAmxRows ? amx_multiply_block<Tiles, true> : amx_multiply_block<Tiles, false>;
      for (int64_t p = 0; p < panels.count; p += kTilePanels) {
        multiply(a, weights + p / kTilePanels * kAmxPairWords, units.count, unit > 0,
                 out.at(0, p * kPanelRows));
        a.next += units.count * kAmxTileBytes / (kAmxPanels / kTilePanels);
      }
    }
  }
}

template <class Tiles>
void amx_multiply(const PackedMatrix& w, Range panels, const std::byte* packed, int64_t rows,
                  const Output& y) {
  const PanelLayout layout = panel_layout(w.format, w.columns);
  const int64_t end = panels.first + panels.count;
  Tiles::configure();
  for (int64_t panel = panels.first; panel < end; panel += kAmxPanels) {
    const int64_t left = end - panel;
    amx_multiply_panels<Tiles>(w, layout, {panel, left < kAmxPanels ? left : kAmxPanels}, packed,
                               rows, y);
  }
  Tiles::release();
}

template <class Tiles>
inline constexpr MatmulKernels with_amx(MatmulKernels kernels) {
  kernels.prefill_fast = {row_tiles, amx_packed_bytes, pack_row_tiles, amx_multiply<Tiles>,
                          kAmxPanels};
  return kernels;
}

// Products of pairs for attention_bf16_avx512-inl.h, whose layout is that of activations and widened weights here.
template <class Tiles>
struct AmxProduct {
  static void begin() { Tiles::configure(); }
  static void end() { Tiles::release(); }
  static void multiply(const PairProduct& p) {
    const auto multiply =
        p.rows > kAmxRows ? amx_multiply_block<Tiles, true> : amx_multiply_block<Tiles, false>;
    const std::byte* next = p.a;  // what comes next is near already
    multiply({p.a, p.a_tile_bytes, next}, p.b, p.units, p.add, {p.y, p.stride, p.rows, p.columns});
  }
};
static_assert(kUnitWords == kAmxUnitWords);

// What the registers do at best: products from tiles that are never loaded anew.
template <class Tiles>
double amx_probe(int64_t rounds) {
  Tiles::configure();
  Tiles::template zero<4>();
  Tiles::template zero<5>();
  Tiles::template zero<6>();
  Tiles::template zero<7>();
  for (int64_t round = 0; round < rounds; ++round) {
    Tiles::template dot_bf16<0, 4, 6>();
    Tiles::template dot_bf16<1, 4, 7>();
    Tiles::template dot_bf16<2, 5, 6>();
    Tiles::template dot_bf16<3, 5, 7>();
  }
  Tiles::release();
  constexpr double kDots = 4, kProducts = kAmxRows * kPanelRows * kAmxColumns;
  return 2 * kDots * kProducts * static_cast<double>(rounds);
}

template <class Tiles>
inline constexpr ProbeKernels with_amx_probe(ProbeKernels kernels) {
  kernels.multiply_fast = amx_probe<Tiles>;
  return kernels;
}
