// Weight matrices packed for the kernels, one behind the other in memory in the order they were loaded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/memory.h"
#include "backend/cpu/worker_pool.h"
#include "backend/parts.h"
#include "kernels/packing.h"

namespace cohort::backend {

struct Segment {  // rows of one format
  kernels::PackedMatrix packed;
  int32_t first_row = 0;
};

struct Weights {
  int32_t rows = 0;
  int32_t columns = 0;
  // One segment, whose panels come from the upper half of the rows and from the lower in turns, each half filled up to whole
  // panels: so a gate and what it lets through are read in one sequential stream. Else rows stand as they were stacked.
  bool paired = false;
  std::vector<Segment> segments;
  std::vector<float> bias;  // empty, or one value a row in the order of the packed rows
};

// Owns the packed bytes.
class WeightStore {
 public:
  WeightStore(MemoryBudget& budget, WorkerPool& pool) : budget_(budget), pool_(pool) {}

  // One of the `parts` below each other, expert `expert` of each (0 without an expert axis).
  struct Stack {
    std::vector<MatrixPart> parts;
    int64_t expert = 0;
    std::vector<float> bias;
    bool gated = false;  // two parts of one size: paired if of one format
  };
  Result<std::vector<Weights>> pack(std::span<const Stack> stacks);
  uint64_t size_bytes() const { return used_bytes_; }

 private:
  Result<std::byte*> allocate(size_t size_bytes);
  void pack_part(const MatrixPart& part, int64_t expert, std::byte* out, int64_t panel_step);

  MemoryBudget& budget_;
  WorkerPool& pool_;
  std::vector<Pages> chunks_;
  size_t left_ = 0;  // in the last chunk
  uint64_t used_bytes_ = 0;
};

}  // namespace cohort::backend
