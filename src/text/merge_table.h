// (left id, right id) -> rank and id of what they merge to.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "text/tokenizer.h"

namespace cohort::text {

class MergeTable {
 public:
  using Rank = uint32_t;
  static constexpr Rank kNone = std::numeric_limits<Rank>::max();

  // For at most `capacity` merges.
  explicit MergeTable(size_t capacity);

  // The rank is the number of merges before. A pair that comes again gets the later rank.
  void add(TokenId left, TokenId right, TokenId merged);

  // kNone when the two do not merge.
  Rank rank(TokenId left, TokenId right) const {
    const uint64_t wanted = key(left, right);
    size_t slot = slot_of(wanted);
    while (keys_[slot] != wanted) {
      if (keys_[slot] == kFree) return kNone;
      slot = (slot + 1) & (keys_.size() - 1);
    }
    return ranks_[slot];
  }
  TokenId merged(Rank rank) const { return merged_[rank]; }

 private:
  static constexpr uint64_t kFree = std::numeric_limits<uint64_t>::max();
  static uint64_t key(TokenId left, TokenId right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  size_t slot_of(uint64_t key) const { return key * 0x9E3779B97F4A7C15 >> shift_; }

  int shift_;
  std::vector<uint64_t> keys_;  // apart from the ranks: most look-ups find nothing
  std::vector<Rank> ranks_;
  std::vector<TokenId> merged_;  // by rank
};

}  // namespace cohort::text
