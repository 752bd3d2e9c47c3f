// The little Unicode that templates need: code points of UTF-8, Python's white space, letter case.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace cohort::text::jinja {

struct CodePoint {
  char32_t value;     // kInvalidCodePoint when the bytes are not UTF-8
  size_t size_bytes;  // at least 1
};
inline constexpr char32_t kInvalidCodePoint = 0xFFFFFFFF;

CodePoint decode_at(std::string_view text, size_t offset);  // offset < text.size()
size_t count_code_points(std::string_view text);
// Byte offset of each code point, then text.size().
std::vector<size_t> code_point_offsets(std::string_view text);
void append_utf8(std::string& out, char32_t code_point);  // surrogates become U+FFFD

bool is_space(char32_t c);       // as Python's str.isspace
bool is_line_break(char32_t c);  // as Python's str.splitlines
bool is_printable(char32_t c);   // as Python's repr, to the precision of whole blocks
bool is_letter(
    char32_t
        c);  // ASCII exactly; above it everything but spaces and the blocks of punctuation and symbols

// ASCII, Latin-1, Latin Extended-A, Greek and Cyrillic; anything else stays as it is.
char32_t to_upper(char32_t c);
char32_t to_lower(char32_t c);

}  // namespace cohort::text::jinja
