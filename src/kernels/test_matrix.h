// Random matrices in every format, for tests and benchmarks.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels/packing.h"

namespace cohort::kernels {

struct TestFormat {
  QuantFormat quant;
  DType type =
      DType::kBF16;  // of the values of a plain matrix, of the scales and biases of an affine one

  std::string name() const {
    std::string text;
    if (quant.mode == QuantMode::kNone) return std::string(dtype_name(type));
    text = std::string(quant_mode_name(quant.mode));
    if (quant.mode != QuantMode::kAffine) return text;
    return text + std::to_string(quant.bits) + "_g" + std::to_string(quant.group_size) + "_" +
           std::string(dtype_name(type));
  }
  friend void PrintTo(const TestFormat& format, std::ostream* out) { *out << format.name(); }
};

// Every kind of codes, with every group size and scale type somewhere.
inline std::vector<TestFormat> test_formats() {
  using enum QuantMode;
  return {
      {{kNone, 0, 0}, DType::kBF16},    {{kNone, 0, 0}, DType::kF16},
      {{kNone, 0, 0}, DType::kF32},     {{kAffine, 2, 64}, DType::kF16},
      {{kAffine, 3, 64}, DType::kBF16}, {{kAffine, 4, 64}, DType::kBF16},
      {{kAffine, 5, 32}, DType::kF32},  {{kAffine, 6, 128}, DType::kF16},
      {{kAffine, 8, 64}, DType::kBF16}, {{kAffine, 4, 32}, DType::kF32},
      {{kAffine, 4, 128}, DType::kF16}, {{kAffine, 8, 32}, DType::kF16},
      {{kAffine, 3, 128}, DType::kF32}, {{kAffine, 2, 32}, DType::kBF16},
      {{kMxfp4, 4, 32}, DType::kU8},    {{kNvfp4, 4, 16}, DType::kU8},
      {{kMxfp8, 8, 32}, DType::kU8},
  };
}

// Owns the bytes of a MatrixView. Values are about as large as a model's.
class TestMatrix {
 public:
  TestMatrix(const TestFormat& format, int64_t rows, int64_t columns, uint32_t seed,
             int64_t experts = 0)
      : rng_(seed) {
    view_ = {.format = format.quant, .experts = experts, .rows = rows, .columns = columns};
    const int64_t all_rows = rows * (experts > 0 ? experts : 1);
    if (format.quant.mode == QuantMode::kNone) {
      fill_plain(format.type, all_rows * columns);
      view_.weight = {weight_.data(), format.type, {all_rows, columns}};
      return;
    }
    fill_codes(static_cast<size_t>(all_rows * columns * format.quant.bits / 8));
    view_.weight = {weight_.data(), DType::kU32, {all_rows, columns * format.quant.bits / 32}};
    const int64_t groups = columns / format.quant.group_size;
    fill_scales(format, all_rows * groups);
    view_.scales = {scales_.data(), format.type, {all_rows, groups}};
    if (format.quant.mode == QuantMode::kAffine)
      view_.biases = {biases_.data(), format.type, {all_rows, groups}};
  }

  const MatrixView& view() const { return view_; }

 private:
  static void append(std::vector<std::byte>& out, DType type, float value) {
    const uint16_t narrow = type == DType::kF16 ? float_to_f16(value) : float_to_bf16(value);
    const auto* bytes = type == DType::kF32 ? reinterpret_cast<const std::byte*>(&value)
                                            : reinterpret_cast<const std::byte*>(&narrow);
    out.insert(out.end(), bytes, bytes + dtype_size(type));
  }

  void fill_plain(DType type, int64_t count) {
    std::normal_distribution<float> values(0.0f, 0.05f);
    for (int64_t i = 0; i < count; ++i) append(weight_, type, values(rng_));
  }

  // Random bits, but no NaN of fp8: 0x7f is left out by clearing a bit of it.
  void fill_codes(size_t size) {
    weight_.resize(size);
    for (std::byte& byte : weight_) {
      byte = static_cast<std::byte>(rng_());
      if (view_.format.mode == QuantMode::kMxfp8 && (byte & std::byte{0x7f}) == std::byte{0x7f})
        byte ^= std::byte{1};
    }
  }

  void fill_scales(const TestFormat& format, int64_t count) {
    const float range = static_cast<float>((1 << format.quant.bits) - 1);
    std::uniform_real_distribution<float> spans(0.1f, 0.3f);
    for (int64_t i = 0; i < count; ++i) {
      if (format.quant.mode == QuantMode::kAffine) {
        const float span = spans(rng_);
        append(scales_, format.type, span / range);
        append(biases_, format.type, -span * 0.45f);
      } else {
        const uint32_t draw = rng_() % 8;
        // e4m3 0x10..0x17 is 2^-5..2^-4, e8m0 114..121 is 2^-13..2^-6
        scales_.push_back(static_cast<std::byte>(
            format.quant.mode == QuantMode::kNvfp4 ? 0x10 + draw : 114 + draw));
      }
    }
  }

  std::mt19937 rng_;
  MatrixView view_;
  std::vector<std::byte> weight_, scales_, biases_;
};

// Packed bytes at the alignment the kernels like.
class AlignedBytes {
 public:
  explicit AlignedBytes(size_t size) : storage_(size + kPackedAlignment) {
    const auto address = reinterpret_cast<uintptr_t>(storage_.data());
    data_ = storage_.data() + (kPackedAlignment - address % kPackedAlignment) % kPackedAlignment;
  }
  AlignedBytes(AlignedBytes&&) = default;
  std::byte* data() const { return data_; }

 private:
  std::vector<std::byte> storage_;
  std::byte* data_;
};

struct OwnedPacked {
  AlignedBytes bytes;
  PackedMatrix matrix;
};

inline OwnedPacked pack_all(const MatrixView& view) {
  const PackedFormat format = packed_format(view);
  AlignedBytes bytes(packed_size_bytes(format, view.rows, view.columns));
  pack_rows(view, 0, {0, view.rows}, {0, view.columns}, bytes.data());
  const PackedMatrix matrix = {format, view.rows, view.columns, bytes.data()};
  return {std::move(bytes), matrix};
}

}  // namespace cohort::kernels
