// Added tokens: strings that are found in the text before it is split, and become one token each.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/rewriter.h"
#include "text/tokenizer.h"
#include "text/trie.h"

namespace cohort::text {

struct AddedToken {
  TokenId id = 0;
  std::string content;
  bool single_word = false;  // not next to a letter or digit
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // and after
  bool special = false;      // as flagged in the file
  bool is_control = false;   // only trusted text may contain it
};

// Whether a token steers the model, rather than being text that got an id of its own: flagged as special, or written
// like a marker: <|fim_prefix|>, <｜User｜>, <unused7>, or <think> and [IMG] when the model's own vocabulary lacks them.
bool looks_like_control(std::string_view content, bool special, bool in_model_vocabulary);

// A stretch of text, or a token that was found.
struct TextPart {
  Range range;
  TokenId token = -1;  // -1: text
};

// Immutable.
class AddedTokenMatcher {
 public:
  AddedTokenMatcher() = default;
  explicit AddedTokenMatcher(std::vector<AddedToken> tokens);

  // The longest token at the leftmost place wins. The parts cover the text but for white space that tokens took.
  std::vector<TextPart> split(const MarkedText& text) const;

 private:
  struct Match {
    Range range;
    const AddedToken* token = nullptr;  // null: none
  };
  Match longest_at(const MarkedText& text, size_t position, size_t trusted_index) const;

  std::vector<AddedToken> tokens_;
  Trie trie_;  // to indices of tokens_
};

}  // namespace cohort::text
