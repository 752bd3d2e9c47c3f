// Many rows of activations through AMX: a tile of 16 rows of 64 bytes of activations times a tile of 64 columns (bytes) or
// 32 columns (bf16) of a panel, which is as wide as a tile: 16 rows of weights.
//
// Tiles is the machine's registers (tiles_amx-inl.h), or what imitates them in tests: eight, of which 0 to 3 sum, 4 and 5
// hold activations, 6 and 7 weights.
//
// Activations are packed by tiles of 16 rows, filled up with zeros: for each block of columns the rows one after the other,
// 64 bytes each; in 8 bits a block is a fold (gemm_i8-inl.h), followed by the rows' scales and their sums by halves.

inline constexpr int kAmxRows = 16;
inline constexpr int kAmxRowBytes = 64;
inline constexpr int kAmxTileBytes = kAmxRows * kAmxRowBytes;
inline constexpr int kAmxFoldBytes =
    kAmxTileBytes + (1 + kHalves) * kAmxRows * static_cast<int>(sizeof(float));
static_assert(kPanelRows == kAmxRows && kTilePanels == 2);

inline int64_t amx_tile_count(int64_t rows) { return (rows + kAmxRows - 1) / kAmxRows; }

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

// ---- bf16 ----

inline constexpr int64_t kAmxColumns =
    kAmxRowBytes / 2;  // of a tile of activations in bf16: one unit
static_assert(kAmxColumns == kUnitColumns);

constexpr int64_t amx_units(int64_t columns) { return (columns + kAmxColumns - 1) / kAmxColumns; }

inline size_t amx_packed_bytes(int64_t rows, int64_t columns) {
  return static_cast<size_t>(amx_tile_count(rows) * amx_units(columns) * kAmxTileBytes);
}

inline void amx_pack(const ActivationRows& x, Range tiles, std::byte* out) {
  const int64_t units = amx_units(x.columns);
  for (int64_t row = tiles.first * kAmxRows; row < (tiles.first + tiles.count) * kAmxRows; ++row) {
    std::byte* at = out + (row / kAmxRows * units * kAmxRows + row % kAmxRows) * kAmxRowBytes;
    for (int64_t unit = 0; unit < units; ++unit, at += kAmxTileBytes) {
      auto* pairs = reinterpret_cast<uint32_t*>(at);
      if (row < x.rows) {
        const int64_t first = unit * kAmxColumns;
        Bf16Math::narrow(x.data + row * x.stride + first, x.columns - first, pairs);
      } else {
        std::memset(pairs, 0, kAmxRowBytes);
      }
    }
  }
}

// Up to two tiles of rows, which stand `tile_bytes` apart, with two panels over so many units.
template <class Tiles>
void amx_multiply_block(const std::byte* a, int64_t tile_bytes, const uint32_t* weights,
                        int64_t units, bool add, const AmxOutput& out) {
  constexpr int64_t kStep = kTilePanels * kPanelRows;  // from one pair of columns to the next
  const bool second = out.rows > kAmxRows;
  begin_sums<Tiles, 0>(out, add);
  begin_sums<Tiles, 1>(out.at(0, kPanelRows), add);
  begin_sums<Tiles, 2>(out.at(kAmxRows, 0), add);
  begin_sums<Tiles, 3>(out.at(kAmxRows, kPanelRows), add);
  for (int64_t unit = 0; unit < units; ++unit) {
    const uint32_t* w = weights + unit * kStepsAUnit<Bf16Math> * kStep;
    Tiles::template load<4>(a + unit * kAmxTileBytes, kAmxRowBytes);
    Tiles::template load<6>(w, kStep * 4);
    Tiles::template load<7>(w + kPanelRows, kStep * 4);
    Tiles::template dot_bf16<0, 4, 6>();
    Tiles::template dot_bf16<1, 4, 7>();
    if (!second) continue;
    Tiles::template load<5>(a + tile_bytes + unit * kAmxTileBytes, kAmxRowBytes);
    Tiles::template dot_bf16<2, 5, 6>();
    Tiles::template dot_bf16<3, 5, 7>();
  }
  end_sums<Tiles, 0>(out);
  end_sums<Tiles, 1>(out.at(0, kPanelRows));
  end_sums<Tiles, 2>(out.at(kAmxRows, 0));
  end_sums<Tiles, 3>(out.at(kAmxRows, kPanelRows));
}

template <class Tiles>
void amx_multiply(const PackedMatrix& w, Range panels, const std::byte* packed, int64_t rows,
                  const Output& y) {
  constexpr int64_t kUnits = kTileUnits<Bf16Math>;
  alignas(kLineBytes) uint32_t weights[kUnits * kStepsAUnit<Bf16Math> * kTilePanels * kPanelRows];
  const PanelLayout layout = panel_layout(w.format, w.columns);
  const WidenTile<Bf16Math> widen = widen_tile_of<Bf16Math>(w.format.codes);
  const int64_t tile_bytes = layout.units * kAmxTileBytes;
  const int64_t end = panels.first + panels.count;
  Tiles::configure();
  for (int64_t panel = panels.first; panel < end; panel += kTilePanels) {
    const Range now = {panel, end - panel < kTilePanels ? end - panel : kTilePanels};
    const int64_t column = panel * kPanelRows;
    const int64_t left = w.rows - column;
    const int64_t columns = left < now.count * kPanelRows ? left : now.count * kPanelRows;
    for (int64_t unit = 0; unit < layout.units; unit += kUnits) {
      const Range units = {unit, layout.units - unit < kUnits ? layout.units - unit : kUnits};
      std::memset(weights, 0, sizeof(weights));  // columns that fill up the last unit
      widen(w, layout, now, units, weights);
      for (int64_t row = 0; row < rows; row += 2 * kAmxRows) {
        const std::byte* a = packed + row / kAmxRows * tile_bytes + unit * kAmxTileBytes;
        amx_multiply_block<Tiles>(
            a, tile_bytes, weights, units.count, unit > 0,
            {y.data + row * y.stride + column, y.stride, rows - row, columns});
      }
    }
  }
  Tiles::release();
}

// ---- 8 bits ----

inline size_t amx_i8_packed_bytes(int64_t rows, int64_t columns) {
  return static_cast<size_t>(amx_tile_count(rows) * fold_count(columns) * kAmxFoldBytes);
}

inline void amx_i8_pack(const ActivationRows& x, Range tiles, std::byte* out) {
  const int64_t folds = fold_count(x.columns);
  for (int64_t row = tiles.first * kAmxRows; row < (tiles.first + tiles.count) * kAmxRows; ++row) {
    std::byte* tile = out + row / kAmxRows * folds * kAmxFoldBytes;
    const int64_t in_tile = row % kAmxRows;
    for (int64_t fold = 0; fold < folds; ++fold, tile += kAmxFoldBytes) {
      FoldRow quantized = {};
      if (row < x.rows) {
        const int64_t first = fold * kFoldColumns;
        quantize_fold(x.data + row * x.stride + first, x.columns - first, quantized);
      }
      std::memcpy(tile + in_tile * kAmxRowBytes, quantized.codes, kAmxRowBytes);
      auto* floats = reinterpret_cast<float*>(tile + kAmxTileBytes) + in_tile;
      floats[0] = quantized.scale;
      for (int half = 0; half < kHalves; ++half)
        floats[(1 + half) * kAmxRows] = quantized.sums[half];
    }
  }
}

// sums += dots, each times the scales of its row of weights and of its row of activations, and the bias's part.
inline void amx_add_scaled(const AmxBuffer& dots, const float* a_scales, const float* a_sums,
                           bool whole, F32 scales, F32 biases, F32 (&sums)[kAmxRows]) {
  COHORT_UNROLL for (int row = 0; row < kAmxRows; ++row) {
    const U32 dot = load_u32(reinterpret_cast<const std::byte*>(dots.values[row]));
    const float sum = whole ? a_sums[row] + a_sums[kAmxRows + row] : a_sums[row];
    const F32 product = fma(to_f32(dot) * broadcast(a_scales[row]), scales, sums[row]);
    sums[row] = fma(biases, broadcast(sum), product);
  }
}

// A tile of rows times one panel of the folds. Tiles 1, 5 and 7 are half as long as 0, 4 and 6: where each half of a fold
// has scales of its own.
template <class Tiles>
void amx_i8_multiply_tile(const std::byte* a, const WeightFold* weights, int panel, int64_t folds,
                          bool whole, bool add, const AmxOutput& out) {
  constexpr int kStride = kBytePanels * kLineBytes;
  AmxBuffer buffer;
  F32 sums[kAmxRows];
  if (add) load_results(out, buffer);
  for (int row = 0; row < kAmxRows; ++row) sums[row] = add ? load(buffer.values[row]) : zero();
  for (const WeightFold* w = weights; w < weights + folds; ++w, a += kAmxFoldBytes) {
    const auto* floats = reinterpret_cast<const float*>(a + kAmxTileBytes);
    for (int half = 0; half < (whole ? 1 : kHalves); ++half) {
      if (whole) {
        Tiles::template zero<0>();
        Tiles::template load<4>(a, kAmxRowBytes);
        Tiles::template load<6>(w->codes[0][panel], kStride);
        Tiles::template dot_bytes<0, 4, 6>();
        Tiles::template store<0>(buffer.values, kAmxRowBytes);
      } else {
        Tiles::template zero<1>();
        Tiles::template load<5>(a + half * kUnitColumns, kAmxRowBytes);
        Tiles::template load<7>(w->codes[half * kQuadsAUnit][panel], kStride);
        Tiles::template dot_bytes<1, 5, 7>();
        Tiles::template store<1>(buffer.values, kAmxRowBytes);
      }
      amx_add_scaled(buffer, floats, floats + (1 + half) * kAmxRows, whole,
                     load(w->scales[half][panel]), load(w->biases[half][panel]), sums);
    }
  }
  for (int row = 0; row < kAmxRows; ++row) store(buffer.values[row], sums[row]);
  store_results(buffer, out);
}

template <class Tiles>
void amx_i8_multiply(const PackedMatrix& w, Range panels, const std::byte* packed, int64_t rows,
                     const Output& y) {
  WeightFold weights[kFoldsAtOnce];
  const PanelLayout layout = panel_layout(w.format, w.columns);
  const UnpackFolds unpack_all = unpack_folds_of<QuadDots>(w.format.codes);
  const int64_t all_folds = fold_count(w.columns);
  const bool whole = w.format.group_size >= kFoldColumns;
  const int64_t end = panels.first + panels.count;
  Tiles::configure_halves();
  for (int64_t panel = panels.first; panel < end; panel += kBytePanels) {
    const Range now = {panel, end - panel < kBytePanels ? end - panel : kBytePanels};
    for (int64_t fold = 0; fold < all_folds; fold += kFoldsAtOnce) {
      const Range folds = {fold, all_folds - fold < kFoldsAtOnce ? all_folds - fold : kFoldsAtOnce};
      unpack_all(w, layout, now, folds, weights);
      for (int64_t row = 0; row < rows; row += kAmxRows) {
        const std::byte* a = packed + (row / kAmxRows * all_folds + fold) * kAmxFoldBytes;
        for (int p = 0; p < now.count; ++p) {
          const int64_t column = (panel + p) * kPanelRows;
          amx_i8_multiply_tile<Tiles>(
              a, weights, p, folds.count, whole, fold > 0,
              {y.data + row * y.stride + column, y.stride, rows - row, w.rows - column});
        }
      }
    }
  }
  Tiles::release();
}

// Results are 32 bits wide in both: sums of bytes as integers, of bf16 as floats.
template <class Tiles>
inline constexpr MatmulKernels with_amx(MatmulKernels kernels) {
  kernels.prefill_fast = {amx_tile_count, amx_packed_bytes, amx_pack, amx_multiply<Tiles>};
  kernels.has_prefill_i8 = has_prefill_i8;
  kernels.prefill_i8 = {amx_tile_count, amx_i8_packed_bytes, amx_i8_pack, amx_i8_multiply<Tiles>};
  return kernels;
}
