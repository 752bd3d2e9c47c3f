// Memory from the OS in whole pages, and how much of it is left.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "base/result.h"

namespace cohort::backend {

// Bytes this process can still take without swapping or being killed: what the machine has available, less if a
// container's limit is nearer.
uint64_t available_memory_bytes();

// What cores share before memory; 0 where the OS does not say.
uint64_t last_level_cache_bytes();

// A core's own, or what a few share; a guess where the OS does not say.
uint64_t second_level_cache_bytes();

// A zeroed anonymous mapping, backed by huge pages where the OS has them. Pages cost nothing until touched.
class Pages {
 public:
  Pages() = default;
  static Result<Pages> allocate(size_t size_bytes);

  Pages(Pages&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Pages& operator=(Pages&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Pages();

  std::byte* data() const { return data_; }
  size_t size_bytes() const { return size_; }

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// Accounts for the large, long-lived memory of a backend (weights, KV) and refuses what would not fit.
class MemoryBudget {
 public:
  explicit MemoryBudget(uint64_t limit_bytes) : limit_bytes_(limit_bytes) {}

  // kUnavailable says how many bytes `what` wants, and how many are missing.
  Result<void> reserve(const char* what, uint64_t size_bytes);
  uint64_t used_bytes() const { return used_bytes_; }

 private:
  uint64_t limit_bytes_;  // 0: only what the machine has
  uint64_t used_bytes_ = 0;
};

}  // namespace cohort::backend
