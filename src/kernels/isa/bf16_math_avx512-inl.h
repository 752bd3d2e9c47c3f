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
