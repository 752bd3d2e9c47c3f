// UTF-8 and the properties of characters that tokenizers ask for. Wraps utf8proc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "text/rewriter.h"

namespace cohort::text {

struct Utf8Char {
  char32_t code;
  uint32_t size;  // in bytes
};

// The character at `position`. The text must be valid UTF-8 and position < its size.
inline Utf8Char utf8_at(std::string_view text, size_t position) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[position + i]); };
  const char32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xE0) return {(lead & 0x1F) << 6 | (byte(1) & 0x3Fu), 2};
  if (lead < 0xF0) return {(lead & 0x0F) << 12 | (byte(1) & 0x3Fu) << 6 | (byte(2) & 0x3Fu), 3};
  return {
      (lead & 0x07) << 18 | (byte(1) & 0x3Fu) << 12 | (byte(2) & 0x3Fu) << 6 | (byte(3) & 0x3Fu),
      4};
}

// The character that ends at `end` > 0.
Utf8Char utf8_before(std::string_view text, size_t end);

inline bool is_utf8_continuation(char byte) { return (byte & 0xC0) == 0x80; }

void append_utf8(std::string& out, char32_t code);

// What starts at `position`: a valid character, a broken part (as long as Unicode's "maximal subpart"), or the begin of a
// character that more bytes may complete.
struct Utf8Step {
  enum Kind { kValid, kBroken, kUnfinished } kind;
  uint32_t size;
};
Utf8Step utf8_step(std::string_view bytes, size_t position);

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

bool is_valid_utf8(std::string_view bytes);
// Each broken part becomes U+FFFD.
MarkedText repair_utf8(const MarkedText& text);

bool is_whitespace(char32_t code);   // White_Space
bool is_numeric(char32_t code);      // general category N
bool is_punctuation(char32_t code);  // ASCII punctuation, or general category P
bool is_mark(char32_t code);         // general category M
bool is_word(char32_t code);         // letters, marks, decimal digits, connectors: a regex's \w

void append_lowercase(std::string& out, char32_t code);

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };
// Linear, also for text that is all combining marks.
MarkedText normalize_unicode(const MarkedText& text, NormalForm form);

}  // namespace cohort::text
