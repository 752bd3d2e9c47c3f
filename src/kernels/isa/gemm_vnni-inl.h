// Many rows of activations in 8 bits (AVX-512 VNNI): about 1.6 times as fast as bf16, at the accuracy of a decode. As in
// gemm-inl.h, a tile of weights is unpacked into the first-level cache, here to bytes, and meets every tile of activations.
//
// Columns go by folds of 64, in which a row of activations has one scale and the products are summed as integers. Packed
// activations: for each tile of rows and each fold, the codes as [quad][row][4], then the rows' scales, then the rows' sums
// (scale times the sum of the codes) over the first and the second half.

inline constexpr int kFoldColumns = 64;
inline constexpr int kFoldQuads = kFoldColumns / 4;
inline constexpr int kHalves = kFoldColumns / kUnitColumns;
inline constexpr int kFoldRowBytes = kFoldColumns + (1 + kHalves) * static_cast<int>(sizeof(float));
inline constexpr int kFoldsAtOnce = 8;  // 20 KB of weights

constexpr int64_t fold_count(int64_t columns) {
  return (columns + kFoldColumns - 1) / kFoldColumns;
}

inline size_t gemm_i8_packed_bytes(int64_t rows, int64_t columns) {
  return static_cast<size_t>((rows * fold_count(columns) * kFoldRowBytes + kLineBytes - 1) /
                             kLineBytes * kLineBytes);
}

// ---- activations ----

struct FoldRow {
  int8_t codes[kFoldColumns];
  float scale;
  float sums[kHalves];
};

inline void quantize_fold(const float* x, int64_t left, FoldRow& out) {
  constexpr int kVectors = kFoldColumns / kLanes;
  F32 values[kVectors];
  F32 greatest = zero();
  COHORT_UNROLL for (int i = 0; i < kVectors; ++i) {
    values[i] = load_columns(x + i * kLanes, left - i * kLanes);
    greatest = max(greatest, abs(values[i]));
  }
  out.scale = maximum(greatest) / 127.0f;
  const F32 inverse = broadcast(out.scale > 0x1p-126f ? 1.0f / out.scale : 0.0f);
  F32 sums[kHalves] = {zero(), zero()};
  COHORT_UNROLL for (int i = 0; i < kVectors; ++i) {
    const F32 rounded = round(values[i] * inverse);
    store_i8(out.codes + i * kLanes, rounded);
    sums[i * kHalves / kVectors] = sums[i * kHalves / kVectors] + rounded;
  }
  for (int half = 0; half < kHalves; ++half) out.sums[half] = out.scale * sum(sums[half]);
}

// `out` is the tile's fold, of which this is row `row` of `height`.
inline void place_fold_row(const FoldRow& from, int64_t row, int64_t height, std::byte* out) {
  for (int quad = 0; quad < kFoldQuads; ++quad)
    std::memcpy(out + (quad * height + row) * 4, from.codes + 4 * quad, 4);
  std::byte* floats = out + kFoldColumns * height;
  std::memcpy(floats + row * 4, &from.scale, 4);
  for (int half = 0; half < kHalves; ++half) {
    std::memcpy(floats + ((1 + half) * height + row) * 4, &from.sums[half], 4);
  }
}

inline void gemm_i8_pack(const ActivationRows& x, Range tiles, std::byte* out) {
  const TileHeights heights = split_rows(x.rows);
  const int64_t folds = fold_count(x.columns);
  for (int64_t tile = tiles.first; tile < tiles.first + tiles.count; ++tile) {
    const int64_t first = tile * heights.height;
    const int64_t left = x.rows - first;
    const int64_t height = left < heights.height ? left : heights.height;
    std::byte* at = out + first * folds * kFoldRowBytes;
    for (int64_t row = 0; row < height; ++row) {
      const float* values = x.data + (first + row) * x.stride;
      for (int64_t fold = 0; fold < folds; ++fold) {
        FoldRow quantized;
        quantize_fold(values + fold * kFoldColumns, x.columns - fold * kFoldColumns, quantized);
        place_fold_row(quantized, row, height, at + fold * kFoldRowBytes * height);
      }
    }
  }
}

// ---- weights ----

// One fold of the weights of a tile's panels.
struct WeightFold {
  alignas(kLineBytes) std::byte codes[kFoldQuads][kTilePanels][kLineBytes];
  float scales[kHalves][kTilePanels][kPanelRows];
  float biases[kHalves][kTilePanels][kPanelRows];
};

template <CodeKind kKind>
void unpack_folds(const PackedMatrix& w, const PanelLayout& layout, Range panels, Range folds,
                  WeightFold* out) {
  for (int64_t unit = folds.first * kHalves; unit < (folds.first + folds.count) * kHalves; ++unit) {
    WeightFold& fold = out[unit / kHalves - folds.first];
    const int half = static_cast<int>(unit % kHalves);
    for (int64_t p = 0; p < panels.count; ++p) {
      U32 quads[kQuadsAUnit];
      ScaleBias s[2] = {{zero(), zero()}, {zero(), zero()}};
      if (unit < layout.units) {
        const std::byte* panel = w.panels + (panels.first + p) * layout.panel_bytes;
        const Unit at = locate_unit(w.format, layout, panel, unit, panels.count);
        unpack<kKind>(at.codes, 0, at.ahead, quads);
        unit_scales<kKind>(w.format, at, 0, s);
      } else {
        for (U32& quad : quads) quad = splat(0);
      }
      for (int i = 0; i < kQuadsAUnit; ++i)
        _mm512_store_si512(fold.codes[half * kQuadsAUnit + i][p], quads[i].v);
      store(fold.scales[half][p], s[0].scale);
      store(fold.biases[half][p], s[0].bias);
    }
  }
}

using UnpackFolds = void (*)(const PackedMatrix& w, const PanelLayout& layout, Range panels,
                             Range folds, WeightFold* out);

inline UnpackFolds unpack_folds_of(CodeKind kind) {
  switch (kind) {
    case CodeKind::kU2: return unpack_folds<CodeKind::kU2>;
    case CodeKind::kU3: return unpack_folds<CodeKind::kU3>;
    case CodeKind::kU4: return unpack_folds<CodeKind::kU4>;
    case CodeKind::kU5: return unpack_folds<CodeKind::kU5>;
    case CodeKind::kU6: return unpack_folds<CodeKind::kU6>;
    case CodeKind::kU8: return unpack_folds<CodeKind::kU8>;
    case CodeKind::kE2M1: return unpack_folds<CodeKind::kE2M1>;
    default: return nullptr;  // see has_prefill_i8
  }
}

// ---- one tile of results ----

template <int kRows>
struct TileSums {
  F32 at[kRows][kTilePanels];
};

// sums += dots, each times the scales of its row of weights and of its row of activations, and the bias's part.
template <int kRows>
inline void fold_dots(const U32 (&dots)[kRows][kTilePanels], const WeightFold& w, int half,
                      const std::byte* a_floats, bool whole, TileSums<kRows>& sums) {
  const auto* scales = reinterpret_cast<const float*>(a_floats);
  const float* a_sums = scales + (1 + half) * kRows;
  COHORT_UNROLL for (int i = 0; i < kRows; ++i) {
    const F32 scale = broadcast(scales[i]);
    const F32 sum = broadcast(whole ? a_sums[i] + a_sums[kRows + i] : a_sums[i]);
    COHORT_UNROLL for (int p = 0; p < kTilePanels; ++p) {
      const F32 product = fma(to_f32(dots[i][p]) * scale, load(w.scales[half][p]), sums.at[i][p]);
      sums.at[i][p] = fma(load(w.biases[half][p]), sum, product);
    }
  }
}

template <int kRows, int kQuads>
inline void multiply_quads(const std::byte* a, const WeightFold& w, int first_quad,
                           U32 (&dots)[kRows][kTilePanels]) {
  COHORT_UNROLL for (int i = 0; i < kRows; ++i) {
    COHORT_UNROLL for (int p = 0; p < kTilePanels; ++p) dots[i][p] = splat(0);
  }
  COHORT_UNROLL for (int quad = 0; quad < kQuads; ++quad) {
    __m512i weights[kTilePanels];
    COHORT_UNROLL for (int p = 0; p < kTilePanels; ++p) weights[p] =
        load_u32(w.codes[first_quad + quad][p]).v;
    COHORT_UNROLL for (int i = 0; i < kRows; ++i) {
      const __m512i x = broadcast_quad(reinterpret_cast<const int8_t*>(a) +
                                       ((first_quad + quad) * kRows + i) * 4);
      COHORT_UNROLL for (int p = 0; p < kTilePanels; ++p) {
        dots[i][p].v = _mm512_dpbusd_epi32(dots[i][p].v, weights[p], x);
      }
    }
  }
}

// kWhole: a fold's weights have one scale, else one for each half.
template <bool kWhole, int kRows>
void multiply_i8_tile(const std::byte* a, const WeightFold* w, int64_t folds,
                      const TileOutput& out) {
  TileSums<kRows> sums;
  for (int i = 0; i < kRows; ++i) {
    for (int p = 0; p < kTilePanels; ++p) {
      const float* y = out.y + i * out.stride + p * kPanelRows;
      sums.at[i][p] = out.add ? load_part(y, lanes_left(out.columns, p * kPanelRows)) : zero();
    }
  }
  for (const WeightFold* end = w + folds; w < end; ++w, a += kFoldRowBytes * kRows) {
    const std::byte* a_floats = a + kFoldColumns * kRows;
    U32 dots[kRows][kTilePanels];
    if constexpr (kWhole) {
      multiply_quads<kRows, kFoldQuads>(a, *w, 0, dots);
      fold_dots<kRows>(dots, *w, 0, a_floats, true, sums);
    } else {
      for (int half = 0; half < kHalves; ++half) {
        multiply_quads<kRows, kQuadsAUnit>(a, *w, half * kQuadsAUnit, dots);
        fold_dots<kRows>(dots, *w, half, a_floats, false, sums);
      }
    }
  }
  for (int i = 0; i < kRows; ++i) {
    for (int p = 0; p < kTilePanels; ++p) {
      store_part(out.y + i * out.stride + p * kPanelRows, sums.at[i][p],
                 lanes_left(out.columns, p * kPanelRows));
    }
  }
}

template <bool kWhole, int kRows = kTileRows>
inline void multiply_i8_tile_of(int64_t rows, const std::byte* a, const WeightFold* w,
                                int64_t folds, const TileOutput& out) {
  if (rows == kRows) return multiply_i8_tile<kWhole, kRows>(a, w, folds, out);
  if constexpr (kRows > 1) multiply_i8_tile_of<kWhole, kRows - 1>(rows, a, w, folds, out);
}

// ---- the whole product ----

constexpr bool has_prefill_i8(const PackedFormat& format) {
  return has_decode_i8(format) && format.group_size >= kUnitColumns;
}

inline void gemm_i8_tiles(const PackedMatrix& w, const std::byte* packed, int64_t rows, Range folds,
                          const WeightFold* weights, TileOutput out) {
  const TileHeights heights = split_rows(rows);
  const int64_t all_folds = fold_count(w.columns);
  const bool whole = w.format.group_size >= kFoldColumns;
  for (int64_t first = 0; first < rows; first += heights.height) {
    const int64_t left = rows - first;
    const int64_t height = left < heights.height ? left : heights.height;
    const std::byte* a = packed + (first * all_folds + folds.first * height) * kFoldRowBytes;
    if (whole) {
      multiply_i8_tile_of<true>(height, a, weights, folds.count, out);
    } else {
      multiply_i8_tile_of<false>(height, a, weights, folds.count, out);
    }
    out.y += heights.height * out.stride;
  }
}

inline void gemm_i8_multiply(const PackedMatrix& w, Range panels, const std::byte* packed,
                             int64_t rows, const Output& y) {
  WeightFold weights[kFoldsAtOnce];
  const PanelLayout layout = panel_layout(w.format, w.columns);
  const UnpackFolds unpack_all = unpack_folds_of(w.format.codes);
  const int64_t all_folds = fold_count(w.columns);
  const int64_t end = panels.first + panels.count;
  for (int64_t panel = panels.first; panel < end; panel += kTilePanels) {
    const Range now = {panel, end - panel < kTilePanels ? end - panel : kTilePanels};
    const int64_t row = panel * kPanelRows;
    const int64_t rows_left = w.rows - row;
    const int64_t columns = rows_left < now.count * kPanelRows ? rows_left : now.count * kPanelRows;
    for (int64_t fold = 0; fold < all_folds; fold += kFoldsAtOnce) {
      const Range folds = {fold, all_folds - fold < kFoldsAtOnce ? all_folds - fold : kFoldsAtOnce};
      unpack_all(w, layout, now, folds, weights);
      gemm_i8_tiles(w, packed, rows, folds, weights, {y.data + row, y.stride, columns, fold > 0});
    }
  }
}

inline constexpr MatmulKernels with_prefill_i8(MatmulKernels kernels) {
  kernels.has_prefill_i8 = has_prefill_i8;
  kernels.prefill_i8 = {gemm_tile_count, gemm_i8_packed_bytes, gemm_i8_pack, gemm_i8_multiply};
  return kernels;
}
