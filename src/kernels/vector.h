// Kernels on vectors of floats: elementwise, norms, gates, rotary embedding; and attention.
#pragma once

#include <cstdint>

#include "kernels/attention.h"

namespace cohort::kernels {

enum class Gate : uint8_t {
  kSilu,      // g * sigmoid(g) * u
  kGeluTanh,  // gelu(g), approximated by tanh, * u
  kRelu2,     // max(g, 0)^2 * u
  kGptOss,    // min(g, 7) * sigmoid(1.702 min(g, 7)) * (clamp(u, -7, 7) + 1)
};

// Pointers need no alignment; sizes are any number from 0. Outputs may be the inputs, but not overlap them otherwise.
struct VectorKernels {
  // y = x / sqrt(mean(x^2) + eps) * weight; a null weight is all ones.
  void (*rms_norm)(const float* x, const float* weight, float* y, int64_t size, float eps);
  void (*add)(float* sum, const float* x, int64_t size);
  void (*add_scaled)(float* sum, const float* x, float factor, int64_t size);
  void (*scale)(float* x, float factor, int64_t size);
  void (*gate)(Gate kind, const float* gate, const float* up, float* y, int64_t size);
  // The same of `both`: kPanelRows gates, their ups, the next gates and so on; the last ones are all there.
  void (*gate_paired)(Gate kind, const float* both, float* y, int64_t size);
  // Rotates x[i] and x[i + pairs] (traditional: x[2i] and x[2i + 1]) by the angle of cos[i], sin[i].
  void (*rope)(float* x, const float* cos, const float* sin, int pairs, bool traditional);
  AttentionKernels attention;
};

}  // namespace cohort::kernels
