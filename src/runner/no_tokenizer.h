// For checkpoints without a tokenizer.json: token ids go in and out, text does not.
#pragma once

#include "text/decoder.h"
#include "text/tokenizer.h"

namespace cohort::runner {

class NoTokenizer final : public text::Tokenizer {
 public:
  explicit NoTokenizer(int32_t vocab_size) : vocab_size_(vocab_size) {}

  std::vector<text::TokenId> encode(std::string_view, bool) const override { return {}; }
  std::vector<text::TokenId> encode(std::span<const text::TextSpan>) const override { return {}; }
  std::string decode(std::span<const text::TokenId>, bool) const override { return ""; }
  int32_t vocab_size() const override { return vocab_size_; }
  std::optional<text::TokenId> token_to_id(std::string_view) const override { return std::nullopt; }
  std::string id_to_token(text::TokenId) const override { return ""; }
  bool is_special(text::TokenId) const override { return false; }
  const text::Decoder& decoder() const override { return decoder_; }

 private:
  int32_t vocab_size_;
  text::Decoder decoder_;
};

}  // namespace cohort::runner
