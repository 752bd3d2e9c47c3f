// Many rows of activations in 8 bits, where the hardware sums products of bytes: 1.6 times (VNNI beside bf16) to 4 times
// (dotprod beside float) as fast, at the accuracy of a decode. As in gemm-inl.h, a tile of weights is unpacked into the
// first-level cache, here to bytes, and meets every tile of activations. Included by isa/*.cc inside their own namespaces.
//
// Columns go by folds of 64, in which a row of activations has one scale and the products are summed as integers. A fold
// is a sequence of steps of Dots::kStepQuads quads. Packed activations: for each tile of rows and each fold, the codes as
// [step][row][4 kStepQuads], then the rows' scales, then the rows' sums (scale times the sum of the codes) over the first
// and the second half. Weights: [step][panel][kStepQuads lines], each panel's lines as Dots::place() puts them.
//
// Dots says which instruction multiplies: QuadDots below, or an instruction set's own.

inline constexpr int kFoldColumns = 64;
inline constexpr int kFoldQuads = kFoldColumns / 4;
inline constexpr int kHalves = kFoldColumns / kUnitColumns;
inline constexpr int kFoldRowBytes = kFoldColumns + (1 + kHalves) * static_cast<int>(sizeof(float));
inline constexpr int kFoldsAtOnce = 8;  // 20 KB of weights

inline constexpr int kByteVectors = kBytePanels * kParts;

inline void store_line(std::byte* at, U32 a) { std::memcpy(at, &a.v, sizeof(a.v)); }

// Lanes are rows of weights, as in a decode.
struct QuadDots {
  static constexpr int kStepQuads = 1;

  // Quads of one step for the rows of one part of a panel, into the panel's lines.
  static void place(const U32* quads, int part, std::byte* lines) {
    store_line(lines + part * kLanes * 4, quads[0]);
  }

  // dots[i][v] = row i of a tile of activations times vector v of weights, over so many quads from the start of a step on.
  // `weights` has all kBytePanels panels of each step.
  template <int kRows, int kQuads>
  static void multiply(const std::byte* a, const std::byte* weights,
                       U32 (&dots)[kRows][kByteVectors]) {
    COHORT_UNROLL for (int i = 0; i < kRows; ++i) {
      COHORT_UNROLL for (int v = 0; v < kByteVectors; ++v) dots[i][v] = splat(0);
    }
    COHORT_UNROLL for (int quad = 0; quad < kQuads; ++quad) {
      U32 w[kByteVectors];
      COHORT_UNROLL for (int v = 0; v < kByteVectors; ++v) {
        w[v] = load_u32(weights + quad * kBytePanels * kLineBytes + v * kLanes * 4);
      }
      COHORT_UNROLL for (int i = 0; i < kRows; ++i) {
        const auto* x = reinterpret_cast<const int8_t*>(a) + (quad * kRows + i) * 4;
        COHORT_UNROLL for (int v = 0; v < kByteVectors; ++v) {
          dots[i][v] = dot_quads<1, 255>(dots[i][v], &w[v], x);
        }
      }
    }
  }
};

constexpr int64_t fold_count(int64_t columns) {
  return (columns + kFoldColumns - 1) / kFoldColumns;
}

inline int64_t gemm_i8_tile_count(int64_t rows) { return split_rows(rows, kByteRows).tiles; }

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
template <class Dots>
inline void place_fold_row(const FoldRow& from, int64_t row, int64_t height, std::byte* out) {
  constexpr int kStepBytes = 4 * Dots::kStepQuads;
  for (int step = 0; step < kFoldColumns / kStepBytes; ++step) {
    std::memcpy(out + (step * height + row) * kStepBytes, from.codes + step * kStepBytes,
                kStepBytes);
  }
  std::byte* floats = out + kFoldColumns * height;
  std::memcpy(floats + row * 4, &from.scale, 4);
  for (int half = 0; half < kHalves; ++half) {
    std::memcpy(floats + ((1 + half) * height + row) * 4, &from.sums[half], 4);
  }
}

template <class Dots>
void gemm_i8_pack(const ActivationRows& x, Range tiles, std::byte* out) {
  const TileHeights heights = split_rows(x.rows, kByteRows);
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
        place_fold_row<Dots>(quantized, row, height, at + fold * kFoldRowBytes * height);
      }
    }
  }
}

// ---- weights ----

// One fold of the weights of a tile's panels.
struct WeightFold {
  alignas(kLineBytes) std::byte codes[kFoldQuads][kBytePanels][kLineBytes];
  float scales[kHalves][kBytePanels][kPanelRows];
  float biases[kHalves][kBytePanels][kPanelRows];
};

// Codes as dot_quads() takes them, and scales that give their values.
template <CodeKind kKind>
inline void unpack_scaled(const PackedFormat& format, const Unit& unit, int part,
                          U32 (&quads)[kQuadsAUnit], ScaleBias& s) {
  unpack_for_dots<kKind>(unit.codes, part, unit.ahead, quads);
  ScaleBias halves[2];
  unit_scales<kKind>(format, unit, part, halves);
  s = halves[0];
  if constexpr (kKind == CodeKind::kU8 && kByteOffset != 0) {
    s.bias = fma(s.scale, broadcast(static_cast<float>(kByteOffset)), s.bias);
  }
}

template <class Dots, CodeKind kKind>
void unpack_folds(const PackedMatrix& w, const PanelLayout& layout, Range panels, Range folds,
                  WeightFold* out) {
  constexpr int kSteps = kQuadsAUnit / Dots::kStepQuads;
  for (int64_t unit = folds.first * kHalves; unit < (folds.first + folds.count) * kHalves; ++unit) {
    WeightFold& fold = out[unit / kHalves - folds.first];
    const int half = static_cast<int>(unit % kHalves);
    std::byte* lines = fold.codes[half * kQuadsAUnit][0];
    for (int64_t p = 0; p < panels.count; ++p) {
      const std::byte* panel = w.panels + (panels.first + p) * layout.panel_bytes;
      for (int part = 0; part < kParts; ++part) {
        U32 quads[kQuadsAUnit];
        ScaleBias s = {zero(), zero()};
        if (unit < layout.units) {
          unpack_scaled<kKind>(w.format, locate_unit(w.format, layout, panel, unit, panels.count),
                               part, quads, s);
        } else {
          for (U32& quad : quads) quad = splat(0);
        }
        for (int step = 0; step < kSteps; ++step) {
          Dots::place(quads + step * Dots::kStepQuads, part,
                      lines + (step * kBytePanels + p) * Dots::kStepQuads * kLineBytes);
        }
        store(fold.scales[half][p] + part * kLanes, s.scale);
        store(fold.biases[half][p] + part * kLanes, s.bias);
      }
    }
  }
}

using UnpackFolds = void (*)(const PackedMatrix& w, const PanelLayout& layout, Range panels,
                             Range folds, WeightFold* out);

template <class Dots>
inline UnpackFolds unpack_folds_of(CodeKind kind) {
  switch (kind) {
    case CodeKind::kU2: return unpack_folds<Dots, CodeKind::kU2>;
    case CodeKind::kU3: return unpack_folds<Dots, CodeKind::kU3>;
    case CodeKind::kU4: return unpack_folds<Dots, CodeKind::kU4>;
    case CodeKind::kU5: return unpack_folds<Dots, CodeKind::kU5>;
    case CodeKind::kU6: return unpack_folds<Dots, CodeKind::kU6>;
    case CodeKind::kU8: return unpack_folds<Dots, CodeKind::kU8>;
    case CodeKind::kE2M1: return unpack_folds<Dots, CodeKind::kE2M1>;
    default: return nullptr;  // see has_prefill_i8
  }
}

// ---- one tile of results ----

template <int kRows>
struct TileSums {
  F32 at[kRows][kByteVectors];
};

// sums += dots, each times the scales of its row of weights and of its row of activations, and the bias's part.
template <int kRows>
inline void fold_dots(const U32 (&dots)[kRows][kByteVectors], const WeightFold& w, int half,
                      const std::byte* a_floats, bool whole, TileSums<kRows>& sums) {
  const auto* scales = reinterpret_cast<const float*>(a_floats);
  const float* a_sums = scales + (1 + half) * kRows;
  const float* w_scales = w.scales[half][0];
  const float* w_biases = w.biases[half][0];
  COHORT_UNROLL for (int i = 0; i < kRows; ++i) {
    const F32 scale = broadcast(scales[i]);
    const F32 sum = broadcast(whole ? a_sums[i] + a_sums[kRows + i] : a_sums[i]);
    COHORT_UNROLL for (int v = 0; v < kByteVectors; ++v) {
      F32& total = sums.at[i][v];
      total = fma(to_f32(dots[i][v]) * scale, load(w_scales + v * kLanes), total);
      total = fma(load(w_biases + v * kLanes), sum, total);
    }
  }
}

// kWhole: a fold's weights have one scale, else one for each half.
template <class Dots, bool kWhole, int kRows>
void multiply_i8_tile(const std::byte* a, const WeightFold* w, int64_t folds,
                      const TileOutput& out) {
  constexpr int kHalfBytes = kFoldColumns / kHalves * kRows;
  TileSums<kRows> sums;
  for (int i = 0; i < kRows; ++i) {
    for (int v = 0; v < kByteVectors; ++v) {
      const float* y = out.y + i * out.stride + v * kLanes;
      sums.at[i][v] = out.add ? load_part(y, lanes_left(out.columns, v * kLanes)) : zero();
    }
  }
  for (const WeightFold* end = w + folds; w < end; ++w, a += kFoldRowBytes * kRows) {
    const std::byte* a_floats = a + kFoldColumns * kRows;
    U32 dots[kRows][kByteVectors];
    if constexpr (kWhole) {
      Dots::template multiply<kRows, kFoldQuads>(a, w->codes[0][0], dots);
      fold_dots<kRows>(dots, *w, 0, a_floats, true, sums);
    } else {
      for (int half = 0; half < kHalves; ++half) {
        Dots::template multiply<kRows, kQuadsAUnit>(a + half * kHalfBytes,
                                                    w->codes[half * kQuadsAUnit][0], dots);
        fold_dots<kRows>(dots, *w, half, a_floats, false, sums);
      }
    }
  }
  for (int i = 0; i < kRows; ++i) {
    for (int v = 0; v < kByteVectors; ++v) {
      store_part(out.y + i * out.stride + v * kLanes, sums.at[i][v],
                 lanes_left(out.columns, v * kLanes));
    }
  }
}

template <class Dots, bool kWhole, int kRows = kByteRows>
inline void multiply_i8_tile_of(int64_t rows, const std::byte* a, const WeightFold* w,
                                int64_t folds, const TileOutput& out) {
  if (rows == kRows) return multiply_i8_tile<Dots, kWhole, kRows>(a, w, folds, out);
  if constexpr (kRows > 1) multiply_i8_tile_of<Dots, kWhole, kRows - 1>(rows, a, w, folds, out);
}

// ---- the whole product ----

constexpr bool has_prefill_i8(const PackedFormat& format) {
  return has_decode_i8(format) && format.group_size >= kUnitColumns;
}

template <class Dots>
void gemm_i8_tiles(const PackedMatrix& w, const std::byte* packed, int64_t rows, Range folds,
                   const WeightFold* weights, TileOutput out) {
  const TileHeights heights = split_rows(rows, kByteRows);
  const int64_t all_folds = fold_count(w.columns);
  const bool whole = w.format.group_size >= kFoldColumns;
  for (int64_t first = 0; first < rows; first += heights.height) {
    const int64_t left = rows - first;
    const int64_t height = left < heights.height ? left : heights.height;
    const std::byte* a = packed + (first * all_folds + folds.first * height) * kFoldRowBytes;
    if (whole) {
      multiply_i8_tile_of<Dots, true>(height, a, weights, folds.count, out);
    } else {
      multiply_i8_tile_of<Dots, false>(height, a, weights, folds.count, out);
    }
    out.y += heights.height * out.stride;
  }
}

template <class Dots>
void gemm_i8_multiply(const PackedMatrix& w, Range panels, const std::byte* packed, int64_t rows,
                      const Output& y) {
  WeightFold weights[kFoldsAtOnce];
  const PanelLayout layout = panel_layout(w.format, w.columns);
  const UnpackFolds unpack_all = unpack_folds_of<Dots>(w.format.codes);
  const int64_t all_folds = fold_count(w.columns);
  const int64_t end = panels.first + panels.count;
  for (int64_t panel = panels.first; panel < end; panel += kBytePanels) {
    const Range now = {panel, end - panel < kBytePanels ? end - panel : kBytePanels};
    const int64_t row = panel * kPanelRows;
    const int64_t rows_left = w.rows - row;
    const int64_t columns = rows_left < now.count * kPanelRows ? rows_left : now.count * kPanelRows;
    for (int64_t fold = 0; fold < all_folds; fold += kFoldsAtOnce) {
      const Range folds = {fold, all_folds - fold < kFoldsAtOnce ? all_folds - fold : kFoldsAtOnce};
      unpack_all(w, layout, now, folds, weights);
      gemm_i8_tiles<Dots>(w, packed, rows, folds, weights,
                          {y.data + row, y.stride, columns, fold > 0});
    }
  }
}

template <class Dots>
inline constexpr MatmulKernels with_prefill_i8(MatmulKernels kernels) {
  kernels.has_prefill_i8 = has_prefill_i8;
  kernels.prefill_i8 = {gemm_i8_tile_count, gemm_i8_packed_bytes, gemm_i8_pack<Dots>,
                        gemm_i8_multiply<Dots>};
  return kernels;
}
