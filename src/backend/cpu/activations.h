// The activations of a step: a stack of float matrices in memory that is kept from step to step.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/memory.h"

namespace cohort::backend {

// A bump allocator over chunks that are never given back, so a steady state neither allocates nor faults. Chunks do
// not move: pointers stay good until reset().
class Arena {
 public:
  struct Mark {
    size_t chunk = 0;
    size_t offset = 0;
  };

  void* allocate(size_t size_bytes);  // 64-byte aligned, not cleared
  template <class T>
  T* make(int64_t count) {
    return static_cast<T*>(allocate(static_cast<size_t>(count) * sizeof(T)));
  }
  Mark mark() const { return top_; }
  void reset(Mark mark) { top_ = mark; }
  size_t size_bytes() const;

 private:
  std::vector<Pages> chunks_;
  Mark top_;
};

// Memory of one op, given back when the op is done. Make results before scratch.
class Scratch {
 public:
  explicit Scratch(Arena& arena) : arena_(arena), mark_(arena.mark()) {}
  ~Scratch() { arena_.reset(mark_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  template <class T>
  T* make(int64_t count) {
    return arena_.make<T>(count);
  }

 private:
  Arena& arena_;
  Arena::Mark mark_;
};

// Rows of floats at a stride.
struct Rows {
  float* data = nullptr;
  int64_t stride = 0;
  int32_t rows = 0;
  int32_t columns = 0;

  float* row(int64_t i) const { return data + i * stride; }
};

// What route() decided for one row after the other: `top_k` experts, and the weight of each.
struct Routes {
  int32_t* experts = nullptr;
  float* weights = nullptr;
  int32_t rows = 0;
  int32_t top_k = 0;
};

class Activations {
 public:
  Tensor make(int32_t rows, int32_t columns);
  Rows rows(Tensor x) const;
  Routing make_routing(int32_t rows, int32_t top_k);
  Routes routes(Routing routing) const;

  int32_t mark() const { return static_cast<int32_t>(slots_.size()); }
  void drop_from(int32_t mark);  // those made since
  Arena& arena() { return arena_; }
  const Arena& arena() const { return arena_; }

 private:
  struct Slot {
    Arena::Mark before;
    Rows rows;
    Routes routes;
  };
  Arena arena_;
  std::vector<Slot> slots_;
};

}  // namespace cohort::backend
