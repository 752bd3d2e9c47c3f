// Pieces of text and their ids, both ways, in three flat arrays: 262,144 pieces take about 7 MB.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/tokenizer.h"

namespace cohort::text {

// Ids beyond this are taken for a broken file; the largest vocabularies have 300,000 pieces.
inline constexpr TokenId kMaxTokenId = (1 << 22) - 1;

class Vocabulary {
 public:
  void reserve(size_t pieces, size_t bytes);
  // kDataLoss when the id is negative or absurd, or the piece or the id is taken.
  Result<void> add(std::string_view piece, int64_t id);

  // From now on find() does not see the piece.
  void hide(TokenId id);

  std::optional<TokenId> find(std::string_view piece) const;
  std::optional<TokenId> find_hidden_too(std::string_view piece) const;
  // "" when there is none. The view lives as long as nothing is added.
  std::string_view piece(TokenId id) const;
  bool contains(TokenId id) const;
  TokenId size() const { return static_cast<TokenId>(places_.size()); }  // largest id + 1
  size_t count() const { return count_; }

 private:
  static constexpr uint32_t kNoPiece = (1u << 31) - 1;
  struct Place {
    uint32_t offset = 0;
    uint32_t size : 31 = kNoPiece;
    uint32_t hidden : 1 = 0;
  };
  static constexpr TokenId kFree = -1;

  size_t slot_of(std::string_view piece) const;  // where it is, or the free slot where it would go
  void grow(size_t slots);

  std::string bytes_;
  std::vector<Place> places_;   // by id
  std::vector<TokenId> slots_;  // hash table, open addressing, a power of two
  size_t count_ = 0;
};

}  // namespace cohort::text
