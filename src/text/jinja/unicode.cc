#include "text/jinja/unicode.h"

namespace cohort::text::jinja {
namespace {

bool is_continuation(std::string_view text, size_t offset) {
  return offset < text.size() && (static_cast<unsigned char>(text[offset]) & 0xC0) == 0x80;
}

bool within(char32_t c, char32_t first, char32_t last) { return c >= first && c <= last; }

// In these blocks capitals and small letters alternate, capitals on even code points.
bool in_even_pairs(char32_t c) {
  return within(c, 0x100, 0x137) || within(c, 0x14A, 0x177) || within(c, 0x460, 0x481) ||
         within(c, 0x48A, 0x4BF) || within(c, 0x4D0, 0x52F);
}
bool in_odd_pairs(char32_t c) {
  return within(c, 0x139, 0x148) || within(c, 0x179, 0x17E) || within(c, 0x4C1, 0x4CE);
}

}  // namespace

CodePoint decode_at(std::string_view text, size_t offset) {
  const unsigned char lead = static_cast<unsigned char>(text[offset]);
  if (lead < 0x80) return {lead, 1};
  size_t size = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4) return {kInvalidCodePoint, 1};
  char32_t value = lead & (0x7F >> size);
  for (size_t i = 1; i < size; ++i) {
    if (!is_continuation(text, offset + i)) return {kInvalidCodePoint, 1};
    value = value << 6 | (static_cast<unsigned char>(text[offset + i]) & 0x3F);
  }
  const char32_t least[] = {0x80, 0x800, 0x10000};
  const bool fits = value >= least[size - 2] && value <= 0x10FFFF && !within(value, 0xD800, 0xDFFF);
  if (!fits) return {kInvalidCodePoint, 1};
  return {value, size};
}

size_t count_code_points(std::string_view text) {
  size_t count = 0;
  for (size_t at = 0; at < text.size(); at += decode_at(text, at).size_bytes) ++count;
  return count;
}

std::vector<size_t> code_point_offsets(std::string_view text) {
  std::vector<size_t> offsets;
  offsets.reserve(text.size() + 1);
  for (size_t at = 0; at < text.size(); at += decode_at(text, at).size_bytes) offsets.push_back(at);
  offsets.push_back(text.size());
  return offsets;
}

void append_utf8(std::string& out, char32_t c) {
  if (within(c, 0xD800, 0xDFFF) || c > 0x10FFFF) c = 0xFFFD;
  if (c < 0x80) {
    out += static_cast<char>(c);
    return;
  }
  const int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
  const unsigned lead_marks[] = {0xC0, 0xE0, 0xF0};
  out += static_cast<char>(lead_marks[more - 1] | (c >> (6 * more)));
  for (int i = more - 1; i >= 0; --i) out += static_cast<char>(0x80 | ((c >> (6 * i)) & 0x3F));
}

bool is_space(char32_t c) {
  return within(c, 0x09, 0x0D) || within(c, 0x1C, 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         within(c, 0x2000, 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

bool is_line_break(char32_t c) {
  return within(c, 0x0A, 0x0D) || within(c, 0x1C, 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

bool is_printable(char32_t c) {
  if (c == ' ') return true;
  if (c < 0x20 || within(c, 0x7F, 0xA0) || c == 0xAD || is_space(c)) return false;
  const bool format_or_private = within(c, 0x200B, 0x200F) || within(c, 0x202A, 0x202E) ||
                                 within(c, 0x2060, 0x206F) || within(c, 0xD800, 0xF8FF) ||
                                 c == 0xFEFF || within(c, 0xFFF0, 0xFFFB) ||
                                 within(c, 0xE0000, 0xE00FF) || c >= 0xF0000;
  return !format_or_private;
}

bool is_letter(char32_t c) {
  if (c < 0x80) return within(c, 'a', 'z') || within(c, 'A', 'Z');
  if (c < 0xC0) return c == 0xAA || c == 0xB5 || c == 0xBA;
  if (c == 0xD7 || c == 0xF7 || is_space(c) || c == kInvalidCodePoint) return false;
  return !(within(c, 0x2000, 0x2BFF) || within(c, 0x3000, 0x3004) || within(c, 0x3008, 0x3020) ||
           within(c, 0xFF00, 0xFF20) || within(c, 0xE000, 0xF8FF) || within(c, 0x1F000, 0x1FAFF));
}

char32_t to_upper(char32_t c) {
  if (within(c, 'a', 'z')) return c - 32;
  if (c < 0x80) return c;
  if (within(c, 0xE0, 0xFE) && c != 0xF7) return c - 32;
  if (c == 0xFF) return 0x178;
  if (c == 0xB5) return 0x39C;
  if (c == 0x131) return 'I';
  if (in_even_pairs(c)) return c & ~char32_t{1};
  if (in_odd_pairs(c)) return c - ((c & 1) == 0 ? 1 : 0);
  if (within(c, 0x3B1, 0x3CB) && c != 0x3C2) return c - 32;
  if (c == 0x3C2) return 0x3A3;
  if (c == 0x3AC) return 0x386;
  if (within(c, 0x3AD, 0x3AF)) return c - 37;
  if (within(c, 0x430, 0x44F)) return c - 32;
  if (within(c, 0x450, 0x45F)) return c - 80;
  return c;
}

char32_t to_lower(char32_t c) {
  if (within(c, 'A', 'Z')) return c + 32;
  if (c < 0x80) return c;
  if (within(c, 0xC0, 0xDE) && c != 0xD7) return c + 32;
  if (c == 0x178) return 0xFF;
  if (c == 0x131) return c;
  if (in_even_pairs(c)) return c | 1;
  if (in_odd_pairs(c)) return c + (c & 1);
  if (within(c, 0x391, 0x3AB) && c != 0x3A2) return c + 32;
  if (c == 0x386) return 0x3AC;
  if (within(c, 0x388, 0x38A)) return c + 37;
  if (within(c, 0x410, 0x42F)) return c + 32;
  if (within(c, 0x400, 0x40F)) return c + 80;
  return c;
}

}  // namespace cohort::text::jinja
