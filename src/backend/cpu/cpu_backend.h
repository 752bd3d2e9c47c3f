// The compute seam on CPUs: packed weights, SIMD kernels picked at run time, a pool of workers that spins while steps
// follow each other and sleeps when none do.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/math.h"

namespace cohort::backend {

struct CpuOptions {
  int threads = 0;  // 0: one a core this process may run on
  Math math = Math::kFast;
  uint64_t memory_limit_bytes = 0;  // of weights + KV; 0: what the machine has available
  std::string kernels;  // "avx2"...; empty: the best this CPU runs. One of cpu_kernel_names()
  // In (0, 1], of its full pace: whatever its workers compute takes so much longer, evenly. For measurements of devices
  // that are not alike.
  double pace = 1;
};

std::vector<std::string> cpu_kernel_names();  // that this CPU runs, slowest first

std::unique_ptr<Backend> make_cpu_backend(const CpuOptions& options = {});

}  // namespace cohort::backend
