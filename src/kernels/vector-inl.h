// Included by each isa/*.cc inside its own namespace, after its simd type: no includes but other -inl.h here.

// Calls body(i, n) for the vectors of [0, size): n == kLanes lanes at i, and fewer in the last one.
template <class Full, class Part>
inline void for_each_vector(int64_t size, Full full, Part part) {
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) full(i);
  if (i < size) part(i, static_cast<int>(size - i));
}

// e^x with a relative error under 2e-7; 0 below -87.3 (where results would be subnormal), 2^127 or so above 88.
[[gnu::always_inline]] inline F32 exp(F32 x) {
  const F32 lowest = broadcast(-87.3f);
  const F32 clamped = min(max(x, lowest), broadcast(88.0f));
  const F32 n = round(clamped * broadcast(1.44269504f));
  F32 r = fma(n, broadcast(-0.693359375f),
              clamped);  // ln 2 in two parts: the first has few bits, so n * it is exact
  r = fma(n, broadcast(2.12194440e-4f), r);
  F32 p = broadcast(1.9875691500e-4f);
  p = fma(p, r, broadcast(1.3981999507e-3f));
  p = fma(p, r, broadcast(8.3334519073e-3f));
  p = fma(p, r, broadcast(4.1665795894e-2f));
  p = fma(p, r, broadcast(1.6666665459e-1f));
  p = fma(p, r, broadcast(5.0000001201e-1f));
  p = fma(p, r * r, r + broadcast(1.0f));
  return select_less(x, lowest, zero(), p * exp2i(n));
}

inline constexpr float kLog2e = 1.44269504f;

// 2^x with a relative error under 8e-5, for results that will be rounded to few bits; 0 of -infinity.
[[gnu::always_inline]] inline F32 rough_exp2(F32 x) {
  const F32 r = fraction(x);
  F32 p = fma(broadcast(0.07802452f), r, broadcast(0.22606716f));
  p = fma(p, r, broadcast(0.69583354f));
  p = fma(p, r, broadcast(0.99992522f));
  return times_exp2(p, x);
}

inline F32 sigmoid(F32 x) { return broadcast(1.0f) / (broadcast(1.0f) + exp(zero() - x)); }

inline float sum_of_squares(const float* x, int64_t size) {
  F32 sums[4] = {zero(), zero(), zero(), zero()};
  int64_t i = 0;
  for (; i + 4 * kLanes <= size; i += 4 * kLanes) {
    for (int k = 0; k < 4; ++k) {
      const F32 v = load(x + i + k * kLanes);
      sums[k] = fma(v, v, sums[k]);
    }
  }
  for (; i < size; i += kLanes) {
    const F32 v = size - i >= kLanes ? load(x + i) : load_part(x + i, static_cast<int>(size - i));
    sums[0] = fma(v, v, sums[0]);
  }
  return sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

inline void rms_norm(const float* x, const float* weight, float* y, int64_t size, float eps) {
  const float mean = sum_of_squares(x, size) / static_cast<float>(size);
  const F32 factor = broadcast(1.0f / __builtin_sqrtf(mean + eps));
  if (weight == nullptr) {
    for_each_vector(
        size, [&](int64_t i) { store(y + i, load(x + i) * factor); },
        [&](int64_t i, int n) { store_part(y + i, load_part(x + i, n) * factor, n); });
    return;
  }
  for_each_vector(
      size, [&](int64_t i) { store(y + i, load(x + i) * factor * load(weight + i)); },
      [&](int64_t i, int n) {
        store_part(y + i, load_part(x + i, n) * factor * load_part(weight + i, n), n);
      });
}

inline void add(float* sum, const float* x, int64_t size) {
  for_each_vector(
      size, [&](int64_t i) { store(sum + i, load(sum + i) + load(x + i)); },
      [&](int64_t i, int n) {
        store_part(sum + i, load_part(sum + i, n) + load_part(x + i, n), n);
      });
}

inline void add_scaled(float* sum, const float* x, float factor, int64_t size) {
  const F32 f = broadcast(factor);
  for_each_vector(
      size, [&](int64_t i) { store(sum + i, fma(load(x + i), f, load(sum + i))); },
      [&](int64_t i, int n) {
        store_part(sum + i, fma(load_part(x + i, n), f, load_part(sum + i, n)), n);
      });
}

inline void scale(float* x, float factor, int64_t size) {
  const F32 f = broadcast(factor);
  for_each_vector(
      size, [&](int64_t i) { store(x + i, load(x + i) * f); },
      [&](int64_t i, int n) { store_part(x + i, load_part(x + i, n) * f, n); });
}

template <Gate kKind>
inline F32 gated(F32 g, F32 u) {
  if constexpr (kKind == Gate::kSilu) {
    return g * sigmoid(g) * u;
  } else if constexpr (kKind == Gate::kGeluTanh) {
    const F32 cubic = fma(g * g * g, broadcast(0.044715f), g);
    return g * sigmoid(cubic * broadcast(1.5957691216f)) *
           u;  // 0.5 (1 + tanh z) = sigmoid(2 z), z = sqrt(2/pi) cubic
  } else if constexpr (kKind == Gate::kRelu2) {
    const F32 positive = max(g, zero());
    return positive * positive * u;
  } else {
    const F32 clipped = min(g, broadcast(7.0f));
    const F32 linear = min(max(u, broadcast(-7.0f)), broadcast(7.0f)) + broadcast(1.0f);
    return clipped * sigmoid(clipped * broadcast(1.702f)) * linear;
  }
}

// Where gate and up of y[i] stand.
struct ApartOperands {
  const float* gate_data;
  const float* up_data;

  const float* gate(int64_t i) const { return gate_data + i; }
  const float* up(int64_t i) const { return up_data + i; }
};
struct PairedOperands {
  const float* both;

  const float* gate(int64_t i) const { return both + i + i / kPanelRows * kPanelRows; }
  const float* up(int64_t i) const { return gate(i) + kPanelRows; }
};

template <Gate kKind, class Operands>
inline void gate_all(const Operands& x, float* y, int64_t size) {
  for_each_vector(
      size, [&](int64_t i) { store(y + i, gated<kKind>(load(x.gate(i)), load(x.up(i)))); },
      [&](int64_t i, int n) {
        store_part(y + i, gated<kKind>(load_part(x.gate(i), n), load_part(x.up(i), n)), n);
      });
}

template <class Operands>
inline void gate_kind(Gate kind, const Operands& x, float* y, int64_t size) {
  switch (kind) {
    case Gate::kSilu: return gate_all<Gate::kSilu>(x, y, size);
    case Gate::kGeluTanh: return gate_all<Gate::kGeluTanh>(x, y, size);
    case Gate::kRelu2: return gate_all<Gate::kRelu2>(x, y, size);
    case Gate::kGptOss: return gate_all<Gate::kGptOss>(x, y, size);
  }
}

inline void gate(Gate kind, const float* gate, const float* up, float* y, int64_t size) {
  gate_kind(kind, ApartOperands{gate, up}, y, size);
}
inline void gate_paired(Gate kind, const float* both, float* y, int64_t size) {
  gate_kind(kind, PairedOperands{both}, y, size);
}

inline void rope_pairs(float* x, const float* cos, const float* sin, int pairs) {
  for (int i = 0; i < pairs; ++i) {
    const float a = x[2 * i], b = x[2 * i + 1];
    x[2 * i] = a * cos[i] - b * sin[i];
    x[2 * i + 1] = b * cos[i] + a * sin[i];
  }
}

inline void rope(float* x, const float* cos, const float* sin, int pairs, bool traditional) {
  if (traditional) return rope_pairs(x, cos, sin, pairs);
  float* y = x + pairs;
  const auto rotate = [](F32 a, F32 b, F32 c, F32 s, auto put) {
    put(a * c - b * s, b * c + a * s);
  };
  for_each_vector(
      pairs,
      [&](int64_t i) {
        rotate(load(x + i), load(y + i), load(cos + i), load(sin + i), [&](F32 a, F32 b) {
          store(x + i, a);
          store(y + i, b);
        });
      },
      [&](int64_t i, int n) {
        rotate(load_part(x + i, n), load_part(y + i, n), load_part(cos + i, n),
               load_part(sin + i, n), [&](F32 a, F32 b) {
                 store_part(x + i, a, n);
                 store_part(y + i, b, n);
               });
      });
}

#include "kernels/attention-inl.h"

inline constexpr VectorKernels make_vector_kernels() {
  return {rms_norm, add, add_scaled, scale, gate, gate_paired, rope, make_attention_kernels()};
}
