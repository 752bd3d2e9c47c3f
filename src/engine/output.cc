#include "engine/output.h"

#include <algorithm>

namespace cohort::engine {

Output::Output(const text::Tokenizer& tokenizer, std::span<const std::string> stops, Limits limits)
    : limits_(limits), detokenizer_(tokenizer), stops_(stops) {}

bool Output::is_eos(text::TokenId token) const {
  return std::find(limits_.eos_tokens.begin(), limits_.eos_tokens.end(), token) !=
         limits_.eos_tokens.end();
}

std::span<const text::TokenId> Output::banned() const {
  return tokens_ < limits_.min_tokens ? limits_.eos_tokens : std::span<const text::TokenId>{};
}

std::string Output::match_stops(const std::string& text) {
  return tokens_ <= limits_.min_tokens ? text : stops_.push(text);
}

Output::Accepted Output::accept(text::TokenId token) {
  ++tokens_;
  const bool ended = !limits_.ignore_eos && is_eos(token);
  Accepted accepted;
  if (!ended) accepted.text = match_stops(detokenizer_.push(token));
  if (!stops_.stopped() && (ended || tokens_ >= limits_.max_tokens)) {
    accepted.text += match_stops(detokenizer_.finish());
    accepted.finish = ended ? FinishReason::kStop : FinishReason::kLength;
  }
  if (stops_.stopped()) {
    accepted.finish = FinishReason::kStop;
  } else if (accepted.finish != FinishReason::kNone) {
    accepted.text += stops_.finish();
  }
  return accepted;
}

}  // namespace cohort::engine
