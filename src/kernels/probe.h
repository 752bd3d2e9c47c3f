// What the machine could do at best: the limits that kernels are measured against, and what the planner asks of a device.
// One core each; the caller takes the time.
#pragma once

#include <cstddef>
#include <cstdint>

namespace cohort::kernels {

struct ProbeKernels {
  // Reads all bytes front to back and returns a checksum. 64-byte aligned; a multiple of 256 bytes.
  uint64_t (*read)(const std::byte* data, size_t size_bytes);

  // Multiply-add from registers, the instruction that prefill or decode is made of. They return how many operations they
  // did, a multiplication and an addition counting as two, for `rounds` (a multiple of 8) of a fixed number of instructions.
  double (*multiply_f32)(int64_t rounds);
  double (*multiply_fast)(int64_t rounds);
  double (*dot_i8)(int64_t rounds);
};

}  // namespace cohort::kernels
