// What the parts of the CPU backend compute with.
#pragma once

#include <algorithm>
#include <cstdint>

#include "backend/cpu/activations.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/read_ahead.h"
#include "backend/cpu/worker_pool.h"
#include "kernels/kernels.h"

namespace cohort::backend {

struct Compute {
  const kernels::Kernels& kernels;
  Math math;
  WorkerPool& pool;
  Arena& arena;
  ReadAhead& ahead;
};

kernels::Gate gate_of(Activation activation);

// Calls body(row) for all rows: shared out when they are many floats, since waking the others costs a few thousand.
template <class Body>
void for_each_row(const Compute& compute, int32_t rows, int64_t floats_a_row, Body&& body) {
  constexpr int64_t kFloatsWorthSharing = 16384;
  const int64_t grain =
      std::max<int64_t>(1, kFloatsWorthSharing / std::max<int64_t>(1, floats_a_row));
  compute.pool.for_each(rows, grain, [&](int64_t first, int64_t count, int) {
    for (int64_t row = first; row < first + count; ++row) body(static_cast<int32_t>(row));
  });
}

}  // namespace cohort::backend
