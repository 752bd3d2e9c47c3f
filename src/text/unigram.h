// Unigram: of all ways to cut a word into pieces, the one whose scores add up to most.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "text/model.h"
#include "text/trie.h"
#include "text/vocabulary.h"

namespace cohort::text {

struct UnigramOptions {
  std::optional<TokenId> unknown;  // without it, unknown characters vanish
  bool byte_fallback = false;  // unknown characters become <0x..> pieces where all of them exist
};

class Unigram : public Model {
 public:
  // `scores` has one for each piece of the vocabulary, which holds the ids from 0 without gaps.
  Unigram(const Vocabulary& vocabulary, std::vector<double> scores, const UnigramOptions& options);

  void encode(const Words& words, std::vector<TokenId>& ids) const override;

 private:
  struct Cell;
  void encode_word(std::string_view word, std::vector<Cell>& cells,
                   std::vector<TokenId>& ids) const;
  void add_unknown(std::string_view text, std::vector<TokenId>& ids) const;

  std::vector<double> scores_;
  UnigramOptions options_;
  Trie pieces_;
  std::array<TokenId, 256> byte_pieces_;  // -1 when missing
  double unknown_score_ = 0;
};

}  // namespace cohort::text
