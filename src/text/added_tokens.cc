#include "text/added_tokens.h"

#include <algorithm>

#include "text/unicode.h"

namespace cohort::text {
namespace {

bool enclosed(std::string_view text, std::string_view begin, std::string_view end) {
  return text.size() > begin.size() + end.size() && text.starts_with(begin) && text.ends_with(end);
}

bool stands_alone(std::string_view text, const Range& match) {
  const bool word_before = match.begin > 0 && is_word(utf8_before(text, match.begin).code);
  const bool word_after = match.end < text.size() && is_word(utf8_at(text, match.end).code);
  return !word_before && !word_after;
}

// Where the white space that ends at `at` begins, not before `limit`.
size_t whitespace_before(std::string_view text, size_t at, size_t limit) {
  while (at > limit) {
    const Utf8Char c = utf8_before(text, at);
    if (!is_whitespace(c.code)) break;
    at -= c.size;
  }
  return at;
}

size_t whitespace_after(std::string_view text, size_t at) {
  while (at < text.size()) {
    const Utf8Char c = utf8_at(text, at);
    if (!is_whitespace(c.code)) break;
    at += c.size;
  }
  return at;
}

}  // namespace

bool looks_like_control(std::string_view content, bool special, bool in_model_vocabulary) {
  if (special) return true;
  if (enclosed(content, "<|", "|>") || enclosed(content, "<｜", "｜>")) return true;
  if (enclosed(content, "<unused", ">")) return true;
  return !in_model_vocabulary && (enclosed(content, "<", ">") || enclosed(content, "[", "]"));
}

AddedTokenMatcher::AddedTokenMatcher(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  std::vector<Trie::Entry> entries;
  for (size_t i = 0; i < tokens_.size(); ++i) {
    entries.emplace_back(tokens_[i].content, static_cast<int32_t>(i));
  }
  trie_ = Trie(std::move(entries));
}

AddedTokenMatcher::Match AddedTokenMatcher::longest_at(const MarkedText& text, size_t position,
                                                       size_t trusted_index) const {
  const size_t trusted_end =
      trusted_index < text.trusted.size() && text.trusted[trusted_index].begin <= position
          ? text.trusted[trusted_index].end
          : 0;
  Match longest;
  trie_.for_each_prefix(text.text, position, [&](size_t end, int32_t index) {
    const AddedToken& token = tokens_[static_cast<size_t>(index)];
    if (!token.is_control || end <= trusted_end) longest = {{position, end}, &token};
  });
  return longest;
}

std::vector<TextPart> AddedTokenMatcher::split(const MarkedText& text) const {
  std::vector<TextPart> parts;
  const std::string_view all = text.text;
  size_t text_begin = 0;
  size_t trusted_index = 0;
  for (size_t at = tokens_.empty() ? all.size() : 0; at < all.size();) {
    if (!trie_.any_begins_with(all[at])) {
      ++at;
      continue;
    }
    while (trusted_index < text.trusted.size() && text.trusted[trusted_index].end <= at) {
      ++trusted_index;
    }
    const Match match = longest_at(text, at, trusted_index);
    if (match.token == nullptr) {
      ++at;
      continue;
    }
    Range range = match.range;
    at = range.end;
    if (match.token->single_word && !stands_alone(all, range)) continue;
    if (match.token->lstrip) range.begin = whitespace_before(all, range.begin, text_begin);
    if (match.token->rstrip) at = range.end = whitespace_after(all, range.end);
    if (text_begin < range.begin) parts.push_back({{text_begin, range.begin}});
    parts.push_back({range, match.token->id});
    text_begin = range.end;
  }
  if (text_begin < all.size()) parts.push_back({{text_begin, all.size()}});
  return parts;
}

}  // namespace cohort::text
