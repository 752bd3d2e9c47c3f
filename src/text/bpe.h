// Byte-pair encoding: a word is cut into characters (or bytes), then the pair that was learned first is merged, again and
// again. O(n log n) in a word's length.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/merge_table.h"
#include "text/model.h"
#include "text/vocabulary.h"

namespace cohort::text {

struct BpeOptions {
  bool bytes =
      false;  // words are bytes whose pieces are written as byte characters (byte_alphabet.h)
  bool byte_fallback = false;      // characters without a piece become <0x..> pieces
  bool fuse_unk = false;           // several unknown characters in a row give one unknown token
  bool ignore_merges = false;      // a word that is a piece is that piece, whatever the merges say
  std::optional<TokenId> unknown;  // without it, unknown characters vanish
};

class Bpe : public Model {
 public:
  // The vocabulary must outlive it.
  Bpe(const Vocabulary& vocabulary, const BpeOptions& options, size_t merge_count);

  // Merges come in the order they were learned. kDataLoss when a piece is missing; one of hidden pieces has no effect.
  Result<void> add_merge(std::string_view left, std::string_view right);

  void encode(const Words& words, std::vector<TokenId>& ids) const override;

 private:
  class Encoder;  // what one call needs

  void note_joint(std::string_view left, std::string_view right);
  // False only where no merge ever reaches across, so that the two sides can be encoded apart.
  bool may_join(char32_t before, char32_t after) const;
  bool is_piece(char32_t code) const;

  const Vocabulary& vocabulary_;
  BpeOptions options_;
  MergeTable merges_;
  std::array<TokenId, 256> byte_pieces_;   // of byte characters or <0x..>; -1 when missing
  std::array<TokenId, 128> ascii_pieces_;  // -1 when missing
  std::vector<uint64_t> joints_;  // a bit per hash of the characters on both sides of a merge
  bool can_cut_ = true;
};

}  // namespace cohort::text
