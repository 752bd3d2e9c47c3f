// The compute seam on CPUs: packed weights, SIMD kernels picked at run time, a pool of workers that spins while steps
// follow each other and sleeps when none do.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"

namespace cohort::backend {

enum class Math : uint8_t {
  kF32,  // float32 throughout: what goldens are compared with
  kFast,  // the machine's dot instructions: activations rounded to int8 (a few rows) or bf16 (many) on their way
  kInt8,  // as kFast, but int8 for many rows, too, of weights in 2 to 8 bits: prompts read faster, a little less exactly
};

struct CpuOptions {
  int threads = 0;  // 0: one a core this process may run on
  Math math = Math::kFast;
  uint64_t memory_limit_bytes = 0;  // of weights + KV; 0: what the machine has available
  std::string kernels;  // "avx2"...; empty: the best this CPU runs. One of cpu_kernel_names()
};

std::vector<std::string> cpu_kernel_names();  // that this CPU runs, slowest first

std::unique_ptr<Backend> make_cpu_backend(const CpuOptions& options = {});

}  // namespace cohort::backend
