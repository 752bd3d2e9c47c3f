#include "backend/cpu/read_ahead.h"

#include <algorithm>
#include <utility>

namespace cohort::backend {
namespace {

constexpr int64_t kLineBytes = 64;
constexpr int64_t kBytesAtOnce = 32 * kLineBytes;  // 0.1 us where a core reads 20 GB/s

}  // namespace

ReadAhead::ReadAhead(int workers, int64_t most_bytes)
    : most_bytes_(most_bytes), cursors_(static_cast<size_t>(workers)) {}

ReadAhead::Products::iterator ReadAhead::learn(const void* product,
                                               std::vector<Stretch> stretches) {
  for (Stretch& stretch : stretches) stretch.size_bytes = std::min(stretch.size_bytes, most_bytes_);
  return products_.emplace(product, Product{.stretches = std::move(stretches)}).first;
}

void ReadAhead::follow(Product& product) {
  if (current_ != nullptr) {
    current_->steady = current_->follower == &product;
    current_->follower = &product;
  }
  current_ = &product;
  next_.store(product.steady ? product.follower : nullptr, std::memory_order_release);
}

void ReadAhead::pause() {
  current_ = nullptr;
  next_.store(nullptr, std::memory_order_relaxed);
}

int64_t ReadAhead::fetch(int worker) {
  const Product* next = next_.load(std::memory_order_acquire);
  Cursor& cursor = cursors_[static_cast<size_t>(worker)];
  if (next != cursor.product) {
    const bool has_stretch = next != nullptr && !next->stretches.empty();
    cursor = {next, has_stretch ? next->stretches[static_cast<size_t>(worker)] : Stretch{}};
  }
  Stretch& left = cursor.left;
  const int64_t size = std::min(left.size_bytes, kBytesAtOnce);
  for (int64_t at = 0; at < size; at += kLineBytes) __builtin_prefetch(left.begin + at, 0, 2);
  left.begin += size;
  left.size_bytes -= size;
  return size;
}

}  // namespace cohort::backend
