#include "text/vocabulary.h"

#include <bit>

#include "base/check.h"
#include "text/hash.h"

namespace cohort::text {

void Vocabulary::reserve(size_t pieces, size_t bytes) {
  bytes_.reserve(bytes);
  places_.reserve(pieces);
  grow(std::bit_ceil(pieces * 2 + 16));
}

void Vocabulary::grow(size_t slots) {
  if (slots <= slots_.size()) return;
  slots_.assign(slots, kFree);
  for (TokenId id = 0; id < size(); ++id) {
    if (contains(id)) slots_[slot_of(piece(id))] = id;
  }
}

size_t Vocabulary::slot_of(std::string_view wanted) const {
  const size_t mask = slots_.size() - 1;
  size_t slot = hash_bytes(wanted) & mask;
  while (slots_[slot] != kFree && piece(slots_[slot]) != wanted) slot = (slot + 1) & mask;
  return slot;
}

Result<void> Vocabulary::add(std::string_view piece_text, int64_t id) {
  if (id < 0 || id > kMaxTokenId) {
    return fail(Code::kDataLoss, "piece '{}' has id {}; ids go from 0 to {}", piece_text, id,
                kMaxTokenId);
  }
  if ((count_ + 1) * 2 > slots_.size()) grow(std::bit_ceil(count_ * 4 + 16));
  const size_t slot = slot_of(piece_text);
  if (slots_[slot] != kFree) {
    return fail(Code::kDataLoss, "piece '{}' has two ids, {} and {}", piece_text, slots_[slot], id);
  }
  const auto token = static_cast<TokenId>(id);
  if (contains(token)) {
    return fail(Code::kDataLoss, "id {} stands for both '{}' and '{}'", id, piece(token),
                piece_text);
  }
  COHORT_CHECK(bytes_.size() + piece_text.size() < kNoPiece);
  if (token >= size()) places_.resize(static_cast<size_t>(token) + 1);
  Place& place = places_[static_cast<size_t>(token)];
  place.offset = static_cast<uint32_t>(bytes_.size());
  place.size = static_cast<uint32_t>(piece_text.size()) & kNoPiece;
  bytes_ += piece_text;
  slots_[slot] = token;
  ++count_;
  return {};
}

void Vocabulary::hide(TokenId id) {
  COHORT_CHECK(contains(id));
  places_[static_cast<size_t>(id)].hidden = 1;
}

std::optional<TokenId> Vocabulary::find(std::string_view wanted) const {
  const auto id = find_hidden_too(wanted);
  if (id && places_[static_cast<size_t>(*id)].hidden != 0) return std::nullopt;
  return id;
}

std::optional<TokenId> Vocabulary::find_hidden_too(std::string_view wanted) const {
  if (slots_.empty()) return std::nullopt;
  const TokenId id = slots_[slot_of(wanted)];
  if (id == kFree) return std::nullopt;
  return id;
}

bool Vocabulary::contains(TokenId id) const {
  return id >= 0 && id < size() && places_[static_cast<size_t>(id)].size != kNoPiece;
}

std::string_view Vocabulary::piece(TokenId id) const {
  if (!contains(id)) return {};
  const Place& place = places_[static_cast<size_t>(id)];
  return std::string_view(bytes_).substr(place.offset, place.size);
}

}  // namespace cohort::text
