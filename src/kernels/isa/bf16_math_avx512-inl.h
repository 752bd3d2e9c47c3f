// Products of pairs of bf16, summed in float, for gemm-inl.h.

// 32 values in bf16, one after the other.
inline __m512i bf16_line(F32 low, F32 high) {
  return reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high.v, low.v));
}

inline __m512i bf16_pairs(F32 even, F32 odd) {
  const __m512i halves = bf16_line(even, odd);
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24,
                                         8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(order, halves);
}

struct Bf16Math {
  using Element = uint32_t;  // two columns
  using Vector = __m512bh;
  static constexpr int kColumns = 2;

  static Vector load_elements(const Element* p) {
    return reinterpret_cast<Vector>(_mm512_loadu_si512(p));
  }
  static Vector repeat(const Element* p) {
    return reinterpret_cast<Vector>(_mm512_set1_epi32(static_cast<int>(*p)));
  }
  static F32 multiply_add(Vector a, Vector b, F32 c) { return {_mm512_dpbf16_ps(c.v, a, b)}; }
  static void narrow(const float* x, int64_t columns, Element* out) {
    const F32 low = load_columns(x, columns);
    const F32 high = load_columns(x + kLanes, columns - kLanes);
    _mm512_storeu_si512(out, bf16_line(low, high));
  }
};

// Rows of bf16 as tiles take them: [tile][unit][kPairRows rows][kUnitBf16 values], rows and columns past the last are zero.
inline constexpr int kPairRows = kLanes;
inline constexpr int kUnitBf16 = 32;
inline constexpr int kPairRowBytes = kUnitBf16 * 2;
inline constexpr int kPairTileBytes = kPairRows * kPairRowBytes;

inline int64_t row_tiles(int64_t rows) { return (rows + kPairRows - 1) / kPairRows; }
constexpr int64_t units_of(int64_t columns) { return (columns + kUnitBf16 - 1) / kUnitBf16; }

inline void pack_row_tiles(const ActivationRows& x, Range tiles, std::byte* out) {
  const int64_t units = units_of(x.columns);
  for (int64_t row = tiles.first * kPairRows; row < (tiles.first + tiles.count) * kPairRows;
       ++row) {
    std::byte* at = out + (row / kPairRows * units * kPairRows + row % kPairRows) * kPairRowBytes;
    for (int64_t unit = 0; unit < units; ++unit, at += kPairTileBytes) {
      auto* pairs = reinterpret_cast<uint32_t*>(at);
      if (row < x.rows) {
        const int64_t first = unit * kUnitBf16;
        Bf16Math::narrow(x.data + row * x.stride + first, x.columns - first, pairs);
      } else {
        std::memset(pairs, 0, kPairRowBytes);
      }
    }
  }
}

struct Bf16Sink {
  uint32_t* tile;
  mutable F32 even = zero();

  void operator()(int column, F32 weights) const {
    if (column % 2 == 0) {
      even = weights;
    } else {
      _mm512_storeu_si512(tile + column / 2 * kTilePanels * kPanelRows, bf16_pairs(even, weights));
    }
  }
  void finish(int columns) const {
    if (columns % 2 != 0) operator()(columns, zero());
  }
};
inline Bf16Sink make_sink(Bf16Math, uint32_t* tile) { return {tile}; }
