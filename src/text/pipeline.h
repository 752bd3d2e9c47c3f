// A tokenizer made of the parts that tokenizer.json describes.
#pragma once

#include <memory>
#include <vector>

#include "text/added_tokens.h"
#include "text/decoder.h"
#include "text/model.h"
#include "text/normalizer.h"
#include "text/post_processor.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer.h"
#include "text/vocabulary.h"

namespace cohort::text {

struct PipelineParts {
  std::unique_ptr<Vocabulary> vocabulary;  // the model's own
  std::unique_ptr<Model> model;            // refers to the vocabulary
  Vocabulary added;              // contents of added tokens, also of those that the model's own has
  std::vector<bool> special;     // by id
  AddedTokenMatcher raw;         // looked for in the text as it came
  AddedTokenMatcher normalized;  // looked for after the normalizer
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  PostProcessor post_processor;
  Decoder decoder;
};

class PipelineTokenizer : public Tokenizer {
 public:
  explicit PipelineTokenizer(PipelineParts parts) : parts_(std::move(parts)) {}

  std::vector<TokenId> encode(std::string_view text, bool add_special_tokens) const override;
  std::vector<TokenId> encode(std::span<const TextSpan> spans) const override;
  std::string decode(std::span<const TokenId> ids, bool skip_special_tokens) const override;
  int32_t vocab_size() const override;
  std::optional<TokenId> token_to_id(std::string_view piece) const override;
  std::string id_to_token(TokenId id) const override { return std::string(piece(id)); }
  bool is_special(TokenId id) const override;
  const Decoder& decoder() const override { return parts_.decoder; }

 private:
  std::string_view piece(TokenId id) const;
  void encode_all(MarkedText text, std::vector<TokenId>& ids) const;
  void encode_between_added(MarkedText text, bool at_start, std::vector<TokenId>& ids) const;

  PipelineParts parts_;
};

}  // namespace cohort::text
