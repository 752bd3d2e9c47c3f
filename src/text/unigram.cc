#include "text/unigram.h"

#include <algorithm>
#include <limits>

#include <fmt/format.h>

#include "base/check.h"
#include "text/unicode.h"

namespace cohort::text {
namespace {

constexpr TokenId kUnknown = -1;
constexpr double kUnknownPenalty = 10;  // below the rarest piece

}  // namespace

// The best way to get to a place in the word.
struct Unigram::Cell {
  double score = -std::numeric_limits<double>::infinity();
  size_t from = 0;
  TokenId id = kUnknown;
};

Unigram::Unigram(const Vocabulary& vocabulary, std::vector<double> scores,
                 const UnigramOptions& options)
    : scores_(std::move(scores)), options_(options) {
  COHORT_CHECK(scores_.size() == static_cast<size_t>(vocabulary.size()));
  std::vector<Trie::Entry> entries;
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    if (!vocabulary.piece(id).empty() && vocabulary.find(vocabulary.piece(id)))
      entries.emplace_back(vocabulary.piece(id), id);
  }
  pieces_ = Trie(std::move(entries));
  const auto rarest = std::min_element(scores_.begin(), scores_.end());
  unknown_score_ = (rarest == scores_.end() ? 0 : *rarest) - kUnknownPenalty;
  for (unsigned byte = 0; byte < 256; ++byte) {
    byte_pieces_[byte] = vocabulary.find(fmt::format("<0x{:02X}>", byte)).value_or(kUnknown);
  }
}

void Unigram::encode(const Words& words, std::vector<TokenId>& ids) const {
  std::vector<Cell> cells;
  for (const Range& word : words.ranges) {
    encode_word(std::string_view(words.text).substr(word.begin, word.size()), cells, ids);
  }
}

void Unigram::encode_word(std::string_view word, std::vector<Cell>& cells,
                          std::vector<TokenId>& ids) const {
  cells.assign(word.size() + 1, {});
  cells[0].score = 0;
  for (size_t at = 0; at < word.size();) {
    const size_t next = at + utf8_at(word, at).size;
    const double base = cells[at].score;
    const auto offer = [&](size_t end, double score, TokenId id) {
      if (base + score > cells[end].score) cells[end] = {base + score, at, id};
    };
    bool has_single = false;
    pieces_.for_each_prefix(word, at, [&](size_t end, TokenId id) {
      offer(end, scores_[static_cast<size_t>(id)], id);
      has_single |= end == next;
    });
    if (!has_single) offer(next, unknown_score_, kUnknown);
    at = next;
  }
  // From the end to the begin; unknown characters in a row are one.
  const size_t first = ids.size();
  for (size_t end = word.size(); end > 0;) {
    size_t begin = cells[end].from;
    if (cells[end].id != kUnknown) {
      ids.push_back(cells[end].id);
    } else {
      while (begin > 0 && cells[begin].id == kUnknown) begin = cells[begin].from;
      add_unknown(word.substr(begin, end - begin), ids);
    }
    end = begin;
  }
  std::reverse(ids.begin() + static_cast<std::ptrdiff_t>(first), ids.end());
}

// Last byte first, as all ids of a word are put.
void Unigram::add_unknown(std::string_view text, std::vector<TokenId>& ids) const {
  const auto piece = [&](char c) { return byte_pieces_[static_cast<unsigned char>(c)]; };
  const bool as_bytes =
      options_.byte_fallback &&
      std::all_of(text.begin(), text.end(), [&](char c) { return piece(c) != kUnknown; });
  if (!as_bytes) {
    if (options_.unknown) ids.push_back(*options_.unknown);
    return;
  }
  for (auto c = text.rbegin(); c != text.rend(); ++c) ids.push_back(piece(*c));
}

}  // namespace cohort::text
