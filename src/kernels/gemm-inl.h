// Many rows of activations: a tile of weights is widened into the first-level cache, then every tile of activations is
// multiplied with it from registers. Included by each isa/*.cc inside its own namespace.
//
// Math says what is multiplied: F32Math below, or an instruction set's own. An Element holds kColumns consecutive columns
// of one row. Activations are packed as tiles of up to kTileRows rows, [column step][row of the tile] Elements; all tiles
// but the last have the same height, and heights are as even as can be.

struct F32Math {
  using Element = float;
  using Vector = F32;
  static constexpr int kColumns = 1;

  static Vector load_elements(const Element* p) { return load(p); }
  static Vector repeat(const Element* p) { return broadcast(*p); }
  static F32 multiply_add(Vector a, Vector b, F32 c) { return fma(a, b, c); }
  // Converts kLanes elements of a row, of which the first `columns` columns exist.
  static void narrow(const float* x, int64_t columns, Element* out) {
    store(out, load_columns(x, columns));
  }
};

// Collects the weights that visit_unit() hands out column by column.
struct F32Sink {
  float* tile;  // of the unit, this panel and part
  void operator()(int column, F32 weights) const {
    store(tile + column * kTilePanels * kPanelRows, weights);
  }
  void finish(int) const {}
};
inline F32Sink make_sink(F32Math, float* tile) { return {tile}; }

template <class Math>
inline constexpr int kStepsAUnit = kUnitColumns / Math::kColumns;

template <class Math>
inline constexpr int kTileUnits =  // of columns that are widened at once: 32 KB
    32768 / (kStepsAUnit<Math> * kTilePanels * kPanelRows *
             static_cast<int>(sizeof(typename Math::Element)));

inline constexpr int kVectorsAStep = kTilePanels * kParts;

struct TileHeights {
  int64_t tiles = 0;
  int64_t height = 0;  // of all but the last
};
constexpr TileHeights split_rows(int64_t rows, int64_t most = kTileRows) {
  const int64_t tiles = (rows + most - 1) / most;
  if (tiles == 0) return {0, 0};
  const int64_t height = (rows + tiles - 1) / tiles;
  return {(rows + height - 1) / height, height};
}

inline int64_t gemm_tile_count(int64_t rows) { return split_rows(rows).tiles; }

template <class Math>
constexpr int64_t column_steps(int64_t columns) {
  return (columns + Math::kColumns - 1) / Math::kColumns;
}

template <class Math>
size_t gemm_packed_bytes(int64_t rows, int64_t columns) {
  const int64_t bytes =
      rows * column_steps<Math>(columns) * static_cast<int64_t>(sizeof(typename Math::Element));
  return static_cast<size_t>((bytes + kLineBytes - 1) / kLineBytes * kLineBytes);
}

// ---- activations ----

// One row into its place in a tile.
template <class Math>
inline void pack_row(const float* x, int64_t columns, int64_t height, typename Math::Element* out) {
  constexpr int64_t kVectorColumns = kLanes * Math::kColumns;
  const int64_t steps = column_steps<Math>(columns);
  for (int64_t step = 0; step < steps; step += kLanes) {
    const int64_t first = step * Math::kColumns;
    typename Math::Element elements[kLanes];
    Math::narrow(x + first, columns - first, elements);
    if (first + kVectorColumns <= columns) {
      COHORT_UNROLL for (int i = 0; i < kLanes; ++i) out[(step + i) * height] = elements[i];
    } else {
      for (int64_t i = 0; step + i < steps; ++i) out[(step + i) * height] = elements[i];
    }
  }
}

template <class Math>
void gemm_pack(const ActivationRows& x, Range tiles, std::byte* out) {
  const TileHeights heights = split_rows(x.rows);
  const int64_t steps = column_steps<Math>(x.columns);
  auto* packed = reinterpret_cast<typename Math::Element*>(out);
  for (int64_t tile = tiles.first; tile < tiles.first + tiles.count; ++tile) {
    const int64_t first = tile * heights.height;
    const int64_t left = x.rows - first;
    const int64_t height = left < heights.height ? left : heights.height;
    for (int64_t row = 0; row < height; ++row) {
      pack_row<Math>(x.data + (first + row) * x.stride, x.columns, height,
                     packed + first * steps + row);
    }
  }
}

// ---- one tile of results ----

struct TileOutput {
  float* y = nullptr;  // of the tile's first row and column
  int64_t stride = 0;
  int64_t columns = 0;  // of y that exist; fewer than the tile's in the last panel
  bool add = false;     // to what is there: not the first tile of columns
};

template <class Math, int kRows>
void multiply_tile(const typename Math::Element* a, const typename Math::Element* b, int64_t steps,
                   const TileOutput& out) {
  F32 sums[kRows][kVectorsAStep];
  COHORT_UNROLL for (int i = 0; i < kRows; ++i) {
    COHORT_UNROLL for (int v = 0; v < kVectorsAStep; ++v) {
      const float* y = out.y + i * out.stride + v * kLanes;
      sums[i][v] = out.add ? load_part(y, lanes_left(out.columns, v * kLanes)) : zero();
    }
  }
  for (int64_t step = 0; step < steps; ++step, a += kRows, b += kTilePanels * kPanelRows) {
    typename Math::Vector weights[kVectorsAStep];
    COHORT_UNROLL for (int v = 0; v < kVectorsAStep; ++v) weights[v] =
        Math::load_elements(b + v * kLanes);
    COHORT_UNROLL for (int i = 0; i < kRows; ++i) {
      const typename Math::Vector activation = Math::repeat(a + i);
      COHORT_UNROLL for (int v = 0; v < kVectorsAStep; ++v) {
        sums[i][v] = Math::multiply_add(weights[v], activation, sums[i][v]);
      }
    }
  }
  COHORT_UNROLL for (int i = 0; i < kRows; ++i) {
    COHORT_UNROLL for (int v = 0; v < kVectorsAStep; ++v) {
      store_part(out.y + i * out.stride + v * kLanes, sums[i][v],
                 lanes_left(out.columns, v * kLanes));
    }
  }
}

template <class Math, int kRows = kTileRows>
inline void multiply_tile_of(int64_t rows, const typename Math::Element* a,
                             const typename Math::Element* b, int64_t steps,
                             const TileOutput& out) {
  if (rows == kRows) return multiply_tile<Math, kRows>(a, b, steps, out);
  if constexpr (kRows > 1) multiply_tile_of<Math, kRows - 1>(rows, a, b, steps, out);
}

// ---- the whole product ----

template <class Math, CodeKind kKind>
void widen_tile(const PackedMatrix& w, const PanelLayout& layout, Range panels, Range units,
                typename Math::Element* tile) {
  constexpr int64_t kStepElements = kTilePanels * kPanelRows;
  for (int64_t unit = 0; unit < units.count; ++unit) {
    const int64_t first = (units.first + unit) * kUnitColumns;
    const int64_t left = w.columns - first;
    typename Math::Element* row = tile + unit * kStepsAUnit<Math> * kStepElements;
    for (int64_t p = 0; p < panels.count; ++p) {
      const std::byte* panel = w.panels + (panels.first + p) * layout.panel_bytes;
      const Unit at = locate_unit(w.format, layout, panel, units.first + unit, panels.count);
      for (int part = 0; part < kParts; ++part) {
        const auto sink = make_sink(Math{}, row + p * kPanelRows + part * kLanes);
        if (left >= kUnitColumns) {
          visit_unit<kKind>(w.format, at, part, kUnitColumns, sink);
        } else {
          visit_unit<kKind>(w.format, at, part, static_cast<int>(left), sink);
          sink.finish(static_cast<int>(left));
        }
      }
    }
  }
}

template <class Math>
using WidenTile = void (*)(const PackedMatrix& w, const PanelLayout& layout, Range panels,
                           Range units, typename Math::Element* tile);

template <class Math>
inline WidenTile<Math> widen_tile_of(CodeKind kind) {
  switch (kind) {
    case CodeKind::kU2: return widen_tile<Math, CodeKind::kU2>;
    case CodeKind::kU3: return widen_tile<Math, CodeKind::kU3>;
    case CodeKind::kU4: return widen_tile<Math, CodeKind::kU4>;
    case CodeKind::kU5: return widen_tile<Math, CodeKind::kU5>;
    case CodeKind::kU6: return widen_tile<Math, CodeKind::kU6>;
    case CodeKind::kU8: return widen_tile<Math, CodeKind::kU8>;
    case CodeKind::kE2M1: return widen_tile<Math, CodeKind::kE2M1>;
    case CodeKind::kE4M3: return widen_tile<Math, CodeKind::kE4M3>;
    case CodeKind::kBF16: return widen_tile<Math, CodeKind::kBF16>;
    case CodeKind::kF16: return widen_tile<Math, CodeKind::kF16>;
    case CodeKind::kF32: return widen_tile<Math, CodeKind::kF32>;
  }
  return nullptr;
}

// All rows of activations with one tile of weights.
template <class Math>
inline void multiply_tiles(const typename Math::Element* packed, int64_t rows, int64_t all_steps,
                           int64_t first_step, int64_t steps, const typename Math::Element* weights,
                           TileOutput out) {
  const TileHeights heights = split_rows(rows);
  for (int64_t first = 0; first < rows; first += heights.height) {
    const int64_t left = rows - first;
    const int64_t height = left < heights.height ? left : heights.height;
    multiply_tile_of<Math>(height, packed + first * all_steps + first_step * height, weights, steps,
                           out);
    out.y += heights.height * out.stride;
  }
}

template <class Math>
void gemm_multiply(const PackedMatrix& w, Range panels, const std::byte* packed, int64_t rows,
                   const Output& y) {
  alignas(kLineBytes)
      typename Math::Element tile[kTileUnits<Math> * kStepsAUnit<Math> * kTilePanels * kPanelRows];
  const PanelLayout layout = panel_layout(w.format, w.columns);
  const WidenTile<Math> widen = widen_tile_of<Math>(w.format.codes);
  const auto* activations = reinterpret_cast<const typename Math::Element*>(packed);
  const int64_t all_steps = column_steps<Math>(w.columns);
  const int64_t end = panels.first + panels.count;
  for (int64_t panel = panels.first; panel < end; panel += kTilePanels) {
    const int64_t panels_now = end - panel < kTilePanels ? end - panel : kTilePanels;
    const int64_t row = panel * kPanelRows;
    const int64_t rows_left = w.rows - row;
    const int64_t columns =
        rows_left < panels_now * kPanelRows ? rows_left : panels_now * kPanelRows;
    for (int64_t unit = 0; unit < layout.units; unit += kTileUnits<Math>) {
      const int64_t units_left = layout.units - unit;
      const Range units = {unit, units_left < kTileUnits<Math> ? units_left : kTileUnits<Math>};
      const int64_t first_step = unit * kStepsAUnit<Math>;
      const int64_t steps_left = all_steps - first_step;
      const int64_t unit_steps = units.count * kStepsAUnit<Math>;
      widen(w, layout, {panel, panels_now}, units, tile);
      multiply_tiles<Math>(activations, rows, all_steps, first_step,
                           steps_left < unit_steps ? steps_left : unit_steps, tile,
                           {y.data + row, y.stride, columns, unit > 0});
    }
  }
}

template <class Math>
inline constexpr GemmKernels make_gemm_kernels() {
  return {gemm_tile_count, gemm_packed_bytes<Math>, gemm_pack<Math>, gemm_multiply<Math>};
}
