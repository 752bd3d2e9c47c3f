// A single token as people see it in logprobs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace cohort::runner {

struct TokenText {
  std::string piece;           // whole UTF-8; U+FFFD where the token holds part of a character
  std::vector<uint8_t> bytes;  // exactly what the token adds to the answer
};
TokenText token_text(const text::Tokenizer& tokenizer, text::TokenId id);

}  // namespace cohort::runner
