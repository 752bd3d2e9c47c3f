#include "text/jinja/text_functions.h"

#include <algorithm>
#include <cstring>

#include "text/jinja/unicode.h"

namespace cohort::text::jinja {
namespace {

// Start of the code point that ends at `end`.
size_t previous_start(std::string_view text, size_t end) {
  for (size_t back = std::min<size_t>(4, end); back > 1; --back) {
    if (decode_at(text, end - back).size_bytes == back) return end - back;
  }
  return end - 1;
}

// The characters to strip: those of a string, or white space.
class CharacterSet {
 public:
  explicit CharacterSet(std::optional<std::string_view> characters) : white_space_(!characters) {
    for (size_t at = 0; characters && at < characters->size();) {
      const auto [c, size] = decode_at(*characters, at);
      members_.push_back(c);
      at += size;
    }
    std::sort(members_.begin(), members_.end());
    members_.erase(std::unique(members_.begin(), members_.end()), members_.end());
  }
  bool holds(std::string_view text, size_t at) const {
    const char32_t c = decode_at(text, at).value;
    return white_space_ ? is_space(c) : std::binary_search(members_.begin(), members_.end(), c);
  }

 private:
  bool white_space_;
  std::vector<char32_t> members_;
};

char32_t swap_case(char32_t c) {
  const char32_t upper = to_upper(c);
  return upper != c ? upper : to_lower(c);
}

char32_t change_letter(char32_t c, Case wanted, bool at_start, bool in_word) {
  switch (wanted) {
    case Case::kUpper: return to_upper(c);
    case Case::kLower: return to_lower(c);
    case Case::kCapitalize: return at_start ? to_upper(c) : to_lower(c);
    case Case::kTitle: return in_word ? to_lower(c) : to_upper(c);
    case Case::kSwap: return swap_case(c);
  }
  return c;
}

std::vector<Text> slices(const Text& text, std::vector<std::pair<size_t, size_t>> ranges) {
  std::vector<Text> parts;
  parts.reserve(ranges.size());
  for (const auto& [begin, end] : ranges) parts.push_back(text.slice(begin, end));
  return parts;
}

size_t skip_spaces(std::string_view text, size_t at, bool spaces) {
  while (at < text.size()) {
    const auto [c, size] = decode_at(text, at);
    if (is_space(c) != spaces) break;
    at += size;
  }
  return at;
}
size_t skip_spaces_back(std::string_view text, size_t end, bool spaces) {
  while (end > 0) {
    const size_t start = previous_start(text, end);
    if (is_space(decode_at(text, start).value) != spaces) break;
    end = start;
  }
  return end;
}

std::string reversed(std::string_view text) { return {text.rbegin(), text.rend()}; }

// Where `separator` stands in `text`, ascending; at most `limit`, the first or the last ones.
std::vector<size_t> occurrences(std::string_view text, std::string_view separator, size_t limit,
                                Side from) {
  std::vector<size_t> found;
  if (from == Side::kLeft) {
    size_t at = find_bytes(text, separator, 0);
    for (; at != text.npos && found.size() < limit;
         at = find_bytes(text, separator, at + separator.size())) {
      found.push_back(at);
    }
    return found;
  }
  // Searching backwards bytewise is not linear; searching the reversed text is.
  found = occurrences(reversed(text), reversed(separator), limit, Side::kLeft);
  for (size_t& at : found) at = text.size() - at - separator.size();
  std::reverse(found.begin(), found.end());
  return found;
}

size_t list_limit(int64_t limit) {
  return limit < 0 ? kMaxListItems : std::min(static_cast<size_t>(limit), kMaxListItems);
}

}  // namespace

size_t find_bytes(std::string_view text, std::string_view part, size_t from) {
  constexpr size_t kShort = 16;  // bytewise search is linear enough, and quicker to start
  if (part.size() <= kShort) return text.find(part, from);
  if (from > text.size()) return text.npos;
  const void* found = memmem(text.data() + from, text.size() - from, part.data(), part.size());
  return found ? static_cast<size_t>(static_cast<const char*>(found) - text.data()) : text.npos;
}

size_t find_bytes_back(std::string_view text, std::string_view part) {
  const size_t found = find_bytes(reversed(text), reversed(part), 0);
  return found == text.npos ? found : text.size() - found - part.size();
}

Text strip(const Text& text, std::optional<std::string_view> characters, Side side) {
  const std::string_view bytes = text.bytes();
  const CharacterSet stripped(characters);
  size_t begin = 0, end = bytes.size();
  while (side != Side::kRight && begin < end && stripped.holds(bytes, begin)) {
    begin += decode_at(bytes, begin).size_bytes;
  }
  while (side != Side::kLeft && end > begin && stripped.holds(bytes, previous_start(bytes, end))) {
    end = previous_start(bytes, end);
  }
  return text.slice(begin, end);
}

Text change_case(const Text& text, Case wanted) {
  Text out;
  bool at_start = true, in_word = false;
  for (const TextSpan& span : text.spans()) {
    std::string changed;
    changed.reserve(span.text.size());
    for (size_t at = 0; at < span.text.size();) {
      const auto [c, size] = decode_at(span.text, at);
      const char32_t letter = change_letter(c, wanted, at_start, in_word);
      if (letter == c) {
        changed.append(span.text, at, size);
      } else {
        append_utf8(changed, letter);
      }
      at_start = false;
      in_word = is_letter(c);
      at += size;
    }
    out.append(changed, span.trusted);
  }
  return out;
}

Text replace(const Text& text, std::string_view old_part, const Text& new_part, int64_t count) {
  const std::string_view bytes = text.bytes();
  Text out;
  size_t begin = 0;
  if (old_part.empty()) {  // between all characters, as Python does
    for (; count != 0 && begin <= bytes.size() && !out.overflowed(); --count) {
      out.append(new_part);
      const size_t end =
          begin < bytes.size() ? begin + decode_at(bytes, begin).size_bytes : begin + 1;
      out.append_slice(text, begin, std::min(end, bytes.size()));
      begin = end;
    }
  }
  for (; count != 0 && !old_part.empty() && !out.overflowed(); --count) {
    const size_t found = find_bytes(bytes, old_part, begin);
    if (found == bytes.npos) break;
    out.append_slice(text, begin, found);
    out.append(new_part);
    begin = found + old_part.size();
  }
  if (begin < bytes.size()) out.append_slice(text, begin, bytes.size());
  return out;
}

Text pad(const Text& text, size_t width, std::string_view fill, Side side) {
  if (width == 0) return text;
  const size_t length = count_code_points(text.bytes());
  const size_t missing = width > length ? width - length : 0;
  const size_t centred = missing / 2 + (missing & width & 1);
  const size_t before = side == Side::kLeft ? missing : side == Side::kRight ? 0 : centred;
  Text out;
  for (size_t i = 0; i < before; ++i) out.append(fill, true);
  out.append(text);
  for (size_t i = before; i < missing; ++i) out.append(fill, true);
  return out;
}

std::vector<Text> split(const Text& text, std::string_view separator, int64_t limit, Side from) {
  std::vector<std::pair<size_t, size_t>> ranges;
  size_t begin = 0;
  for (const size_t cut : occurrences(text.bytes(), separator, list_limit(limit), from)) {
    ranges.emplace_back(begin, cut);
    begin = cut + separator.size();
  }
  ranges.emplace_back(begin, text.size());
  return slices(text, std::move(ranges));
}

std::vector<Text> split_white_space(const Text& text, int64_t limit, Side from) {
  const std::string_view bytes = text.bytes();
  std::vector<std::pair<size_t, size_t>> ranges;
  size_t cuts_left = list_limit(limit);
  if (from == Side::kLeft) {
    for (size_t begin = skip_spaces(bytes, 0, true); begin < bytes.size();) {
      const size_t end = cuts_left-- == 0 ? bytes.size() : skip_spaces(bytes, begin, false);
      const bool rest = end == bytes.size();
      ranges.emplace_back(begin, end);
      begin = rest ? end : skip_spaces(bytes, end, true);
    }
  } else {
    for (size_t end = skip_spaces_back(bytes, bytes.size(), true); end > 0;) {
      const size_t begin = cuts_left-- == 0 ? 0 : skip_spaces_back(bytes, end, false);
      ranges.emplace_back(begin, end);
      end = begin == 0 ? 0 : skip_spaces_back(bytes, begin, true);
    }
    std::reverse(ranges.begin(), ranges.end());
  }
  return slices(text, std::move(ranges));
}

std::vector<Text> split_lines(const Text& text, bool keep_ends) {
  const std::string_view bytes = text.bytes();
  std::vector<std::pair<size_t, size_t>> ranges;
  size_t begin = 0;
  for (size_t at = 0; at < bytes.size() && ranges.size() < kMaxListItems;) {
    const auto [c, size] = decode_at(bytes, at);
    if (!is_line_break(c)) {
      at += size;
      continue;
    }
    const bool crlf = c == '\r' && at + 1 < bytes.size() && bytes[at + 1] == '\n';
    const size_t next = at + size + (crlf ? 1 : 0);
    ranges.emplace_back(begin, keep_ends ? next : at);
    begin = at = next;
  }
  if (begin < bytes.size()) ranges.emplace_back(begin, bytes.size());
  return slices(text, std::move(ranges));
}

Result<Value> as_list(std::vector<Text> texts) {
  if (texts.size() > kMaxListItems) {
    return fail(Code::kTooLarge, "splitting into more than {} parts", kMaxListItems);
  }
  std::vector<Value> values;
  values.reserve(texts.size());
  for (Text& text : texts) values.emplace_back(std::move(text));
  return make_list(std::move(values));
}

}  // namespace cohort::text::jinja
