#include "text/bpe.h"

#include <algorithm>
#include <bit>
#include <functional>

#include <fmt/format.h>

#include "base/check.h"
#include "text/byte_alphabet.h"
#include "text/hash.h"
#include "text/unicode.h"

namespace cohort::text {
namespace {

constexpr TokenId kMissing = -1;
constexpr size_t kJointBits = 1 << 20;
constexpr size_t kScanLimit = 40;  // up to so many symbols, looking through all pairs beats a heap
constexpr size_t kMaxCachedWordBytes = 64;
constexpr size_t kMaxCacheSlots = 1 << 14;
constexpr size_t kTextBytesPerCacheSlot = 16;

constexpr uint32_t kNoSymbol = UINT32_MAX;

}  // namespace

Bpe::Bpe(const Vocabulary& vocabulary, const BpeOptions& options, size_t merge_count)
    : vocabulary_(vocabulary), options_(options), merges_(merge_count) {
  for (unsigned byte = 0; byte < 256; ++byte) {
    const std::string name = options.bytes
                                 ? std::string(byte_character(static_cast<unsigned char>(byte)))
                                 : fmt::format("<0x{:02X}>", byte);
    byte_pieces_[byte] = vocabulary.find(name).value_or(kMissing);
  }
  for (unsigned code = 0; code < 128; ++code) {
    const char c = static_cast<char>(code);
    ascii_pieces_[code] = vocabulary.find({&c, 1}).value_or(kMissing);
  }
  if (!options.bytes) joints_.resize(kJointBits / 64);
}

Result<void> Bpe::add_merge(std::string_view left, std::string_view right) {
  const auto find = [&](std::string_view piece) -> Result<TokenId> {
    if (const auto id = vocabulary_.find(piece)) return *id;
    if (vocabulary_.find_hidden_too(piece)) return kMissing;
    return fail(Code::kDataLoss, "no such piece: '{}'", piece);
  };
  COHORT_TRY(const TokenId left_id, find(left));
  COHORT_TRY(const TokenId right_id, find(right));
  COHORT_TRY(const TokenId merged, find(std::string(left).append(right)));
  if (left_id == kMissing || right_id == kMissing || merged == kMissing) return {};
  merges_.add(left_id, right_id, merged);
  if (!options_.bytes) note_joint(left, right);
  return {};
}

void Bpe::note_joint(std::string_view left, std::string_view right) {
  // Pieces that do not spell their own text could meet anywhere.
  const auto stands_for_other_text = [&](std::string_view piece) {
    return piece.empty() || piece.starts_with("<0x") || vocabulary_.find(piece) == options_.unknown;
  };
  if (stands_for_other_text(left) || stands_for_other_text(right)) {
    can_cut_ = false;
    return;
  }
  const char32_t before = utf8_before(left, left.size()).code;
  const char32_t after = utf8_at(right, 0).code;
  const uint64_t bit = hash_number(uint64_t{before} << 32 | after) % kJointBits;
  joints_[bit / 64] |= uint64_t{1} << bit % 64;
}

bool Bpe::may_join(char32_t before, char32_t after) const {
  const uint64_t bit = hash_number(uint64_t{before} << 32 | after) % kJointBits;
  return (joints_[bit / 64] >> bit % 64 & 1) != 0;
}

bool Bpe::is_piece(char32_t code) const {
  if (code < ascii_pieces_.size()) return ascii_pieces_[code] != kMissing;
  std::string character;
  append_utf8(character, code);
  return vocabulary_.find(character).has_value();
}

class Bpe::Encoder {
 public:
  Encoder(const Bpe& bpe, std::string_view text, std::vector<TokenId>& ids)
      : bpe_(bpe), parts_are_words_(bpe.options_.bytes || !bpe.can_cut_), text_(text), ids_(ids) {
    const size_t slots = std::min(text.size() / kTextBytesPerCacheSlot, kMaxCacheSlots);
    if (slots > 0) cache_.resize(std::bit_ceil(slots));
  }

  void add(const Range& word) {
    if (parts_are_words_) return add_part(word);
    if (add_whole(word)) return;
    // Cut where no merge reaches across: a text without spaces to split at is then as quick as one word after another.
    Range part{word.begin, word.begin};
    char32_t before = 0;
    while (part.end < word.end) {
      const Utf8Char c = utf8_at(text_, part.end);
      if (part.size() > 0 && !bpe_.may_join(before, c.code) && bpe_.is_piece(c.code)) {
        add_part(part);
        part.begin = part.end;
      }
      before = c.code;
      part.end += c.size;
    }
    add_part(part);
  }

 private:
  // A word encoded before in this text: where it stands there, and where its ids are in the output.
  struct Cached {
    uint64_t hash = 0;
    size_t word_begin = 0;
    uint32_t word_size = 0;
    uint32_t id_count = 0;
    size_t id_begin = 0;
  };

  std::string_view view(const Range& range) const {
    return text_.substr(range.begin, range.size());
  }

  void add_part(const Range& part) {
    if (cache_.empty() || part.size() > kMaxCachedWordBytes) return encode(part);
    const std::string_view word = view(part);
    const uint64_t hash = hash_bytes(word);
    Cached& entry = cache_[hash & (cache_.size() - 1)];
    if (entry.hash == hash && text_.substr(entry.word_begin, entry.word_size) == word) {
      return repeat(entry);
    }
    const size_t id_begin = ids_.size();
    encode(part);
    entry = {hash, part.begin, static_cast<uint32_t>(part.size()),
             static_cast<uint32_t>(ids_.size() - id_begin), id_begin};
  }

  void repeat(const Cached& entry) {
    for (size_t i = 0; i < entry.id_count; ++i) {
      const TokenId id = ids_[entry.id_begin + i];  // by value: the vector may move
      ids_.push_back(id);
    }
  }

  // True when the word is one piece and that settles it.
  bool add_whole(const Range& word) {
    if (!bpe_.options_.ignore_merges) return false;
    std::string_view piece = view(word);
    if (bpe_.options_.bytes) {
      piece_.clear();
      append_byte_characters(piece_, piece);
      piece = piece_;
    }
    const auto id = bpe_.vocabulary_.find(piece);
    if (id) ids_.push_back(*id);
    return id.has_value();
  }

  void encode(const Range& word) {
    if (parts_are_words_ && add_whole(word)) return;
    symbols_.clear();
    if (bpe_.options_.bytes) {
      add_byte_symbols(view(word));
    } else {
      add_character_symbols(view(word));
    }
    if (symbols_.size() <= kScanLimit) {
      merge_by_scanning();
    } else {
      merge_by_heap();
    }
  }

  void add_byte_symbols(std::string_view word) {
    bool after_unknown = false;
    for (const char c : word) {
      const TokenId id = bpe_.byte_pieces_[static_cast<unsigned char>(c)];
      if (id == kMissing) {
        add_unknown(after_unknown);
      } else {
        symbols_.push_back(id);
      }
      after_unknown = id == kMissing;
    }
  }

  void add_character_symbols(std::string_view word) {
    bool after_unknown = false;
    for (size_t at = 0; at < word.size();) {
      const Utf8Char c = utf8_at(word, at);
      const std::string_view character = word.substr(at, c.size);
      at += c.size;
      const TokenId id = c.code < 128 ? bpe_.ascii_pieces_[c.code]
                                      : bpe_.vocabulary_.find(character).value_or(kMissing);
      const bool known = id != kMissing || add_bytes_of(character);
      if (id != kMissing) {
        symbols_.push_back(id);
      } else if (!known) {
        add_unknown(after_unknown);
      }
      after_unknown = !known;
    }
  }

  bool add_bytes_of(std::string_view character) {
    if (!bpe_.options_.byte_fallback) return false;
    const auto piece = [&](char c) { return bpe_.byte_pieces_[static_cast<unsigned char>(c)]; };
    if (std::any_of(character.begin(), character.end(),
                    [&](char c) { return piece(c) == kMissing; })) {
      return false;
    }
    for (const char c : character) symbols_.push_back(piece(c));
    return true;
  }

  void add_unknown(bool after_unknown) {
    if (!bpe_.options_.unknown || (after_unknown && bpe_.options_.fuse_unk)) return;
    symbols_.push_back(*bpe_.options_.unknown);
  }

  // ranks_[i] is that of the pair (i, i + 1); kNone for the last symbol.
  void rank_pairs() {
    ranks_.resize(symbols_.size());
    for (size_t i = 0; i + 1 < symbols_.size(); ++i) {
      ranks_[i] = bpe_.merges_.rank(symbols_[i], symbols_[i + 1]);
    }
    if (!ranks_.empty()) ranks_.back() = MergeTable::kNone;
  }

  void merge_by_scanning() {
    rank_pairs();
    while (symbols_.size() > 1) {
      const auto best = std::min_element(ranks_.begin(), ranks_.end());
      if (*best == MergeTable::kNone) break;
      const auto i = best - ranks_.begin();
      symbols_[static_cast<size_t>(i)] = bpe_.merges_.merged(*best);
      symbols_.erase(symbols_.begin() + i + 1);
      ranks_.erase(ranks_.begin() + i + 1);
      const auto rerank = [&](size_t left) {
        ranks_[left] = left + 1 < symbols_.size()
                           ? bpe_.merges_.rank(symbols_[left], symbols_[left + 1])
                           : MergeTable::kNone;
      };
      rerank(static_cast<size_t>(i));
      if (i > 0) rerank(static_cast<size_t>(i) - 1);
    }
    ids_.insert(ids_.end(), symbols_.begin(), symbols_.end());
  }

  // Symbols form a list; the heap holds rank and place of pairs, the next to merge on top. An entry whose rank is no longer
  // that of its place is stale.
  void merge_by_heap() {
    rank_pairs();
    link();
    heap_.clear();
    for (uint32_t i = 0; i + 1 < symbols_.size(); ++i) {
      if (ranks_[i] != MergeTable::kNone) heap_.push_back(uint64_t{ranks_[i]} << 32 | i);
    }
    std::make_heap(heap_.begin(), heap_.end(), std::greater<>());
    while (!heap_.empty()) {
      std::pop_heap(heap_.begin(), heap_.end(), std::greater<>());
      const uint64_t top = heap_.back();
      heap_.pop_back();
      const auto place = static_cast<uint32_t>(top);
      if (ranks_[place] == top >> 32) merge_at(place);
    }
    for (uint32_t i = 0; i != kNoSymbol; i = next_[i]) ids_.push_back(symbols_[i]);
  }

  void link() {
    const size_t count = symbols_.size();
    COHORT_CHECK(count < kNoSymbol);
    next_.resize(count);
    previous_.resize(count);
    for (uint32_t i = 0; i < count; ++i) {
      next_[i] = i + 1 < count ? i + 1 : kNoSymbol;
      previous_[i] = i > 0 ? i - 1 : kNoSymbol;
    }
  }

  void merge_at(uint32_t place) {
    const uint32_t gone = next_[place];
    symbols_[place] = bpe_.merges_.merged(ranks_[place]);
    ranks_[gone] = MergeTable::kNone;
    next_[place] = next_[gone];
    if (next_[place] != kNoSymbol) previous_[next_[place]] = place;
    push_pair(place);
    if (previous_[place] != kNoSymbol) push_pair(previous_[place]);
  }

  void push_pair(uint32_t left) {
    const uint32_t right = next_[left];
    ranks_[left] =
        right == kNoSymbol ? MergeTable::kNone : bpe_.merges_.rank(symbols_[left], symbols_[right]);
    if (ranks_[left] == MergeTable::kNone) return;
    heap_.push_back(uint64_t{ranks_[left]} << 32 | left);
    std::push_heap(heap_.begin(), heap_.end(), std::greater<>());
  }

  const Bpe& bpe_;
  const bool parts_are_words_;
  std::string_view text_;
  std::vector<TokenId>& ids_;
  std::vector<Cached> cache_;
  std::string piece_;
  std::vector<TokenId> symbols_;
  std::vector<MergeTable::Rank> ranks_;
  std::vector<uint32_t> next_, previous_;
  std::vector<uint64_t> heap_;
};

void Bpe::encode(const Words& words, std::vector<TokenId>& ids) const {
  Encoder encoder(*this, words.text, ids);
  for (const Range& word : words.ranges) encoder.add(word);
}

}  // namespace cohort::text
