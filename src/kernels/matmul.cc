#include "kernels/matmul.h"

#include "base/bytes.h"

namespace cohort::kernels {
namespace {

struct ActivationOffsets {
  size_t scales = 0, sums = 0, code_sums = 0, end = 0;
};

ActivationOffsets offsets(int64_t columns) {
  const auto groups = static_cast<size_t>(divide_up<int64_t>(columns, kActivationGroup));
  ActivationOffsets at;
  at.scales = round_up<size_t>(groups * kActivationGroup, kLineBytes);
  at.sums = at.scales + round_up<size_t>(groups * sizeof(float), kLineBytes);
  at.code_sums = at.sums + round_up<size_t>(groups * sizeof(float), kLineBytes);
  at.end = at.code_sums + round_up<size_t>(2 * groups * sizeof(int32_t), kLineBytes);
  return at;
}

}  // namespace

size_t quantized_activation_bytes(int64_t columns) { return offsets(columns).end; }

QuantizedActivation quantized_activation_at(std::byte* buffer, int64_t columns) {
  const ActivationOffsets at = offsets(columns);
  return {reinterpret_cast<int8_t*>(buffer), reinterpret_cast<float*>(buffer + at.scales),
          reinterpret_cast<float*>(buffer + at.sums),
          reinterpret_cast<int32_t*>(buffer + at.code_sums)};
}

}  // namespace cohort::kernels
