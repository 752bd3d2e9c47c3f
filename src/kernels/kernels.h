// The compute kernels, one table per instruction set. A table is picked once, when the backend starts, and passed down;
// kernels are free functions on plain pointers that never allocate, lock, log or start threads.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "kernels/matmul.h"
#include "kernels/probe.h"
#include "kernels/vector.h"

namespace cohort::kernels {

enum class Isa : uint8_t {
  kScalar,
  kAvx2,
  kAvx2Vnni,
  kAvx512,
  kAvx512Vnni,
  kAvx512Bf16,
  kAmx,
  kNeon,
  kNeonDotprod,
  kNeonI8mm
};

struct Kernels {
  const char* name;  // "avx512_bf16"
  Isa isa;
  MatmulKernels matmul;
  VectorKernels vector;
  ProbeKernels probe;
};

// Those this CPU runs, slowest ("scalar", always there) first. The tables live as long as the process.
std::span<const Kernels* const> available_kernels();

// The fastest of them.
const Kernels& best_kernels();

// By name, for tests and for users who want an older instruction set; null when this CPU does not run it.
const Kernels* find_kernels(std::string_view name);

}  // namespace cohort::kernels
