#include "text/decoder.h"
#include "text/tokenizer.h"

namespace cohort::text {

struct Detokenizer::State {
  const Tokenizer& tokenizer;
  bool skip_special_tokens;
  DecodeStream stream;
};

Detokenizer::Detokenizer(const Tokenizer& tokenizer, bool skip_special_tokens)
    : state_(new State{tokenizer, skip_special_tokens,
                       DecodeStream(tokenizer.decoder(), /*eager=*/true)}) {}

Detokenizer::~Detokenizer() = default;
Detokenizer::Detokenizer(Detokenizer&&) noexcept = default;

std::string Detokenizer::push(TokenId id) {
  std::string out;
  if (state_->skip_special_tokens && state_->tokenizer.is_special(id)) return out;
  const std::string piece = state_->tokenizer.id_to_token(id);
  if (!piece.empty()) state_->stream.push(piece, out);
  return out;
}

std::string Detokenizer::finish() {
  std::string out;
  state_->stream.finish(out);
  return out;
}

}  // namespace cohort::text
