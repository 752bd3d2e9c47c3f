#include "text/merge_table.h"

#include <bit>

#include "base/check.h"

namespace cohort::text {

MergeTable::MergeTable(size_t capacity)
    : keys_(std::bit_ceil(capacity * 3 / 2 + 16), kFree), ranks_(keys_.size()) {
  shift_ = 64 - std::countr_zero(keys_.size());
  merged_.reserve(capacity);
}

void MergeTable::add(TokenId left, TokenId right, TokenId merged) {
  COHORT_CHECK(merged_.size() + 1 <
               keys_.size());  // a free slot must stay, or look-ups would never end
  const uint64_t wanted = key(left, right);
  size_t slot = slot_of(wanted);
  while (keys_[slot] != wanted && keys_[slot] != kFree) slot = (slot + 1) & (keys_.size() - 1);
  keys_[slot] = wanted;
  ranks_[slot] = static_cast<Rank>(merged_.size());
  merged_.push_back(merged);
}

}  // namespace cohort::text
