#include "text/charsmap.h"

#include <cstring>

#include "base/bytes.h"
#include "text/unicode.h"

namespace cohort::text {
namespace {

// -1 for what is no base64.
int base64_value(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+') return 62;
  return c == '/' ? 63 : -1;
}

Result<std::vector<char>> decode_base64(std::string_view text) {
  while (text.ends_with('=')) text.remove_suffix(1);
  std::vector<char> bytes;
  uint32_t buffer = 0;
  int bits = 0;
  for (const char c : text) {
    const int value = base64_value(c);
    if (value < 0) return fail(Code::kDataLoss, "precompiled_charsmap is not base64");
    buffer = (buffer << 6 | static_cast<uint32_t>(value)) & 0xFFFF;
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    bytes.push_back(static_cast<char>(buffer >> bits & 0xFF));
  }
  return bytes;
}

// A unit of darts-clone's double array.
bool has_leaf(uint32_t unit) { return (unit >> 8 & 1) == 1; }
uint32_t value_of(uint32_t unit) { return unit & 0x7FFFFFFF; }
uint32_t label_of(uint32_t unit) { return unit & 0x800000FF; }
uint32_t offset_of(uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); }

}  // namespace

Result<CharsMap> CharsMap::parse(std::string_view base64) {
  COHORT_TRY(const std::vector<char> blob, decode_base64(base64));
  CharsMap map;
  if (blob.empty()) return map;
  if (blob.size() < 4) return fail(Code::kDataLoss, "precompiled_charsmap is cut off");
  const uint32_t trie_bytes = load<uint32_t>(blob.data());
  if (trie_bytes % 4 != 0 || trie_bytes > blob.size() - 4) {
    return fail(Code::kDataLoss, "precompiled_charsmap: a trie of {} bytes in {} bytes", trie_bytes,
                blob.size());
  }
  map.units_.resize(trie_bytes / 4);
  std::memcpy(map.units_.data(), blob.data() + 4, trie_bytes);
  map.replacements_.assign(blob.begin() + 4 + trie_bytes, blob.end());
  return map;
}

std::string_view CharsMap::replacement_at(uint32_t offset) const {
  if (offset >= replacements_.size()) return {};
  const std::string_view rest = std::string_view(replacements_).substr(offset);
  return rest.substr(0, rest.find('\0'));
}

CharsMap::Found CharsMap::longest(std::string_view text) const {
  Found found;
  if (units_.empty()) return found;
  size_t node = offset_of(units_[0]);
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    node ^= byte;
    if (byte == 0 || node >= units_.size() || label_of(units_[node]) != byte) break;
    const uint32_t unit = units_[node];
    node ^= offset_of(unit);
    if (!has_leaf(unit)) continue;
    if (node >= units_.size()) break;
    found = {i + 1, replacement_at(value_of(units_[node]))};
  }
  return found;
}

MarkedText CharsMap::run(const MarkedText& text) const {
  Rewriter to(text);
  while (to.position() < text.text.size()) {
    const std::string_view rest = std::string_view(text.text).substr(to.position());
    const Found found = longest(rest);
    // A broken map must not cut characters.
    const bool whole =
        found.size == rest.size() || (found.size > 0 && !is_utf8_continuation(rest[found.size]));
    if (whole && is_valid_utf8(found.replacement)) {
      to.replace(found.size, found.replacement);
    } else {
      to.keep(utf8_at(rest, 0).size);
    }
  }
  return std::move(to).finish();
}

}  // namespace cohort::text
