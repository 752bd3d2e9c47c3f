#include "backend/cpu/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/bytes.h"

namespace cohort::backend {
namespace {

[[maybe_unused]] constexpr size_t kHugePage = size_t{2} << 20;

}  // namespace

Result<Pages> Pages::allocate(size_t size_bytes) {
  Pages pages;
  if (size_bytes == 0) return pages;
  void* data =
      mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) {
    return fail(Code::kUnavailable, "the system refused {} of memory: {}", format_bytes(size_bytes),
                std::strerror(errno));
  }
#ifdef MADV_HUGEPAGE
  if (size_bytes >= kHugePage) madvise(data, size_bytes, MADV_HUGEPAGE);
#endif
  pages.data_ = static_cast<std::byte*>(data);
  pages.size_ = size_bytes;
  return pages;
}

Pages::~Pages() {
  if (data_ != nullptr) munmap(data_, size_);
}

Result<void> MemoryBudget::reserve(const char* what, uint64_t size_bytes) {
  uint64_t left = available_memory_bytes();
  if (limit_bytes_ > 0) left = std::min(left, limit_bytes_ - std::min(limit_bytes_, used_bytes_));
  if (size_bytes > left) {
    return fail(Code::kUnavailable, "{} needs {} of memory and {} is left: {} missing", what,
                format_bytes(size_bytes), format_bytes(left), format_bytes(size_bytes - left));
  }
  used_bytes_ += size_bytes;
  return {};
}

}  // namespace cohort::backend
