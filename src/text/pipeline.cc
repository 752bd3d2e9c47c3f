#include "text/pipeline.h"

#include <algorithm>

#include "text/unicode.h"

namespace cohort::text {

std::vector<TokenId> PipelineTokenizer::encode(std::string_view text,
                                               bool add_special_tokens) const {
  std::vector<TokenId> ids;
  const PostProcessor& around = parts_.post_processor;
  if (add_special_tokens) ids = around.before;
  encode_all({std::string(text), {{0, text.size()}}}, ids);
  if (add_special_tokens) ids.insert(ids.end(), around.after.begin(), around.after.end());
  return ids;
}

std::vector<TokenId> PipelineTokenizer::encode(std::span<const TextSpan> spans) const {
  MarkedText joined;
  for (const TextSpan& span : spans) {
    const size_t begin = joined.text.size();
    joined.text += span.text;
    if (!span.trusted || span.text.empty()) continue;
    if (!joined.trusted.empty() && joined.trusted.back().end == begin) {
      joined.trusted.back().end = joined.text.size();
    } else {
      joined.trusted.push_back({begin, joined.text.size()});
    }
  }
  std::vector<TokenId> ids;
  encode_all(std::move(joined), ids);
  return ids;
}

void PipelineTokenizer::encode_all(MarkedText text, std::vector<TokenId>& ids) const {
  if (!is_valid_utf8(text.text)) text = repair_utf8(text);
  for (const TextPart& part : parts_.raw.split(text)) {
    if (part.token >= 0) {
      ids.push_back(part.token);
    } else {
      encode_between_added(slice(text, part.range), part.range.begin == 0, ids);
    }
  }
}

void PipelineTokenizer::encode_between_added(MarkedText text, bool at_start,
                                             std::vector<TokenId>& ids) const {
  text = parts_.normalizer.run(std::move(text));
  for (const TextPart& part : parts_.normalized.split(text)) {
    if (part.token >= 0) {
      ids.push_back(part.token);
      continue;
    }
    Words words;
    words.text = text.text.substr(part.range.begin, part.range.size());
    words.at_start = at_start && part.range.begin == 0;
    parts_.pre_tokenizer.run(words);
    parts_.model->encode(words, ids);
  }
}

std::string PipelineTokenizer::decode(std::span<const TokenId> ids,
                                      bool skip_special_tokens) const {
  std::string text;
  DecodeStream stream(parts_.decoder, /*eager=*/false);
  for (const TokenId id : ids) {
    if (skip_special_tokens && is_special(id)) continue;
    if (const std::string_view token = piece(id); !token.empty()) stream.push(token, text);
  }
  stream.finish(text);
  return text;
}

int32_t PipelineTokenizer::vocab_size() const {
  return std::max(parts_.vocabulary->size(), parts_.added.size());
}

std::optional<TokenId> PipelineTokenizer::token_to_id(std::string_view wanted) const {
  if (const auto id = parts_.added.find(wanted)) return id;
  return parts_.vocabulary->find(wanted);
}

std::string_view PipelineTokenizer::piece(TokenId id) const {
  return parts_.added.contains(id) ? parts_.added.piece(id) : parts_.vocabulary->piece(id);
}

bool PipelineTokenizer::is_special(TokenId id) const {
  return id >= 0 && static_cast<size_t>(id) < parts_.special.size() &&
         parts_.special[static_cast<size_t>(id)];
}

}  // namespace cohort::text
