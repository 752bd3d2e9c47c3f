#include "tensor/quantization.h"

#include "base/bytes.h"
#include "base/check.h"

namespace cohort {
namespace {

constexpr std::string_view kModeNames[] = {"none", "affine", "mxfp4", "nvfp4", "mxfp8"};

float value_at(const TensorView& view, int64_t index) {
  const std::byte* at = view.data + static_cast<size_t>(index) * dtype_size(view.dtype);
  switch (view.dtype) {
    case DType::kF32: return load<float>(at);
    case DType::kF16: return f16_to_float(load<uint16_t>(at));
    case DType::kBF16: return bf16_to_float(load<uint16_t>(at));
    case DType::kF8E4M3: return f8_e4m3_to_float(load<uint8_t>(at));
    case DType::kU8: return static_cast<float>(load<uint8_t>(at));
    default: break;
  }
  COHORT_CHECK(false && "a matrix of this dtype is refused when the checkpoint is opened");
  return 0;
}

// The code at `column` of the bit stream that starts at `row`.
uint32_t code_at(const std::byte* row, int64_t column, int bits) {
  const int64_t bit = column * bits;
  const std::byte* at = row + bit / 8;
  uint32_t window = load<uint8_t>(at);
  if (bit % 8 + bits > 8) window |= static_cast<uint32_t>(load<uint8_t>(at + 1)) << 8;
  return (window >> (bit % 8)) & ((1u << bits) - 1);
}

float scale_at(const MatrixView& view, int64_t index) {
  if (view.format.mode == QuantMode::kAffine) return value_at(view.scales, index);
  const auto bits = load<uint8_t>(view.scales.data + index);
  return view.format.mode == QuantMode::kNvfp4 ? f8_e4m3_to_float(bits) : f8_e8m0_to_float(bits);
}

}  // namespace

std::string_view quant_mode_name(QuantMode mode) { return kModeNames[static_cast<size_t>(mode)]; }

std::optional<QuantMode> parse_quant_mode(std::string_view name) {
  for (size_t i = 0; i < std::size(kModeNames); ++i) {
    if (kModeNames[i] == name) return static_cast<QuantMode>(i);
  }
  return std::nullopt;
}

void dequantize_row(const MatrixView& view, int64_t expert, int64_t row, float* out) {
  const int64_t row_index = expert * view.rows + row;
  if (view.format.mode == QuantMode::kNone) {
    for (int64_t c = 0; c < view.columns; ++c) {
      out[c] = value_at(view.weight, row_index * view.columns + c);
    }
    return;
  }
  const int bits = view.format.bits;
  const std::byte* codes = view.weight.data + row_index * (view.columns * bits / 8);
  const int64_t groups = view.columns / view.format.group_size;
  for (int64_t c = 0; c < view.columns; ++c) {
    const int64_t group = row_index * groups + c / view.format.group_size;
    const uint32_t code = code_at(codes, c, bits);
    const float scale = scale_at(view, group);
    switch (view.format.mode) {
      case QuantMode::kAffine:
        out[c] = scale * static_cast<float>(code) + value_at(view.biases, group);
        break;
      case QuantMode::kMxfp8: out[c] = scale * f8_e4m3_to_float(static_cast<uint8_t>(code)); break;
      default: out[c] = scale * kE2M1[code]; break;
    }
  }
}

}  // namespace cohort
