// The output of one choice: tokens in, text that may be sent out, and when it is over.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "engine/engine.h"
#include "engine/stop_matcher.h"
#include "text/tokenizer.h"

namespace cohort::engine {

class Output {
 public:
  struct Limits {
    std::span<const text::TokenId> eos_tokens;
    int32_t min_tokens =
        0;  // before that many no end-of-sequence token comes, and stop strings are not looked for
    int32_t max_tokens = 0;
    bool ignore_eos = false;
  };
  // The tokenizer and limits.eos_tokens must outlive it.
  Output(const text::Tokenizer& tokenizer, std::span<const std::string> stops, Limits limits);

  struct Accepted {
    std::string text;
    FinishReason finish = FinishReason::kNone;  // kStop or kLength; then accept no more
  };
  Accepted accept(text::TokenId token);

  int32_t tokens() const { return tokens_; }
  // Not to be sampled as the next token.
  std::span<const text::TokenId> banned() const;

 private:
  bool is_eos(text::TokenId token) const;
  std::string match_stops(const std::string& text);

  Limits limits_;
  text::Detokenizer detokenizer_;
  StopMatcher stops_;
  int32_t tokens_ = 0;
};

}  // namespace cohort::engine
