// Block-quantised matrices as MLX stores them: a row is one little-endian bit stream of codes, first column in the
// lowest bits, no padding (3, 5 and 6 bit codes straddle bytes), with one scale (and bias) per group of columns.
//
//   affine  value = scales[g] * code + biases[g]     scales, biases f16/bf16/f32   bits 2 3 4 5 6 8, group 32 64 128
//   mxfp4   value = 2^(scales[g] - 127) * e2m1[code]     scales U8   bits 4, group 32
//   nvfp4   value = e4m3(scales[g]) * e2m1[code]         scales U8   bits 4, group 16
//   mxfp8   value = 2^(scales[g] - 127) * e4m3[code]     scales U8   bits 8, group 32
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "tensor/tensor_view.h"

namespace cohort {

enum class QuantMode : uint8_t { kNone, kAffine, kMxfp4, kNvfp4, kMxfp8 };

struct QuantFormat {
  QuantMode mode = QuantMode::kNone;  // kNone: plain values of the tensor's dtype
  int bits = 0;
  int group_size = 0;

  bool operator==(const QuantFormat&) const = default;
};

std::string_view quant_mode_name(QuantMode mode);  // "affine", "mxfp4"...
std::optional<QuantMode> parse_quant_mode(std::string_view name);

// A matrix of a checkpoint, quantised or plain, as borrowed views. Shape [rows, columns] in values, whatever the packing;
// with_experts: the views have a leading axis and `experts` > 0.
struct MatrixView {
  QuantFormat format;
  int64_t experts = 0;  // 0: no leading axis
  int64_t rows = 0;     // outputs
  int64_t columns = 0;  // inputs
  TensorView
      weight;  // kNone: [.., rows, columns] of F32/F16/BF16; else U32 [.., rows, columns * bits / 32]
  TensorView scales;  // [.., rows, columns / group_size]
  TensorView biases;  // affine only
};

// One row (of one expert) widened to float, exactly. `out` has view.columns values. The slow, obvious reference.
void dequantize_row(const MatrixView& view, int64_t expert, int64_t row, float* out);

}  // namespace cohort
