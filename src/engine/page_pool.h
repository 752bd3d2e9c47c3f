// KV pages by number: which are free, which sequences use, which the prefix tree keeps for later. The bytes live in the
// backend; this is the bookkeeping.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace cohort::engine {

class PagePool {
 public:
  explicit PagePool(int32_t pages);

  // A page with one reference; nullopt when none is free.
  std::optional<int32_t> allocate();
  void retain(int32_t page);   // one more sequence uses it
  void release(int32_t page);  // one fewer; free when nobody uses and the tree does not keep it

  void keep(int32_t page);  // the tree holds on to it
  void drop(int32_t page);  // the tree lets go

  bool in_use(int32_t page) const { return pages_[page].references > 0; }
  // Only its one user may write to a page: nobody else sees it, and the tree does not promise its contents to anyone.
  bool writable(int32_t page) const { return pages_[page].references == 1 && !pages_[page].kept; }

  int32_t total() const { return static_cast<int32_t>(pages_.size()); }
  int32_t free() const { return static_cast<int32_t>(free_.size()); }
  int32_t used() const { return used_; }                       // by sequences
  int32_t cached() const { return total() - free() - used_; }  // by the tree alone
  int32_t available() const { return total() - used_; }        // free, or evictable

 private:
  struct Page {
    int32_t references = 0;
    bool kept = false;
  };
  std::vector<Page> pages_;
  std::vector<int32_t> free_;
  int32_t used_ = 0;
};

}  // namespace cohort::engine
