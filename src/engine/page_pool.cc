#include "engine/page_pool.h"

#include "base/check.h"

namespace cohort::engine {

PagePool::PagePool(int32_t pages) : pages_(static_cast<size_t>(pages)) {
  free_.reserve(pages_.size());
  for (int32_t page = pages - 1; page >= 0; --page) free_.push_back(page);
}

std::optional<int32_t> PagePool::allocate() {
  if (free_.empty()) return std::nullopt;
  const int32_t page = free_.back();
  free_.pop_back();
  retain(page);
  return page;
}

void PagePool::retain(int32_t page) {
  if (pages_[page].references++ == 0) ++used_;
}

void PagePool::release(int32_t page) {
  COHORT_CHECK(pages_[page].references > 0);
  if (--pages_[page].references > 0) return;
  --used_;
  if (!pages_[page].kept) free_.push_back(page);
}

void PagePool::keep(int32_t page) {
  COHORT_CHECK(in_use(page));
  COHORT_CHECK(!pages_[page].kept);
  pages_[page].kept = true;
}

void PagePool::drop(int32_t page) {
  COHORT_CHECK(pages_[page].kept);
  pages_[page].kept = false;
  if (!in_use(page)) free_.push_back(page);
}

}  // namespace cohort::engine
