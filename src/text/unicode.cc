#include "text/unicode.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include <utf8proc.h>

#include "base/check.h"

namespace cohort::text {
namespace {

constexpr uint64_t kHighBits = 0x8080808080808080;

// The first byte at or after `position` that is not ASCII, or the size.
size_t skip_ascii(std::string_view bytes, size_t position) {
  while (position + 8 <= bytes.size()) {
    uint64_t word;
    std::memcpy(&word, bytes.data() + position, 8);
    if (word & kHighBits) break;
    position += 8;
  }
  while (position < bytes.size() && static_cast<unsigned char>(bytes[position]) < 0x80) ++position;
  return position;
}

struct LeadByte {
  uint32_t size = 0;  // of the character; 0 when no character begins like that
  unsigned char second_min = 0x80, second_max = 0xBF;
};

LeadByte classify_lead(unsigned char lead) {
  if (lead < 0x80) return {1};
  if (lead < 0xC2 || lead > 0xF4) return {};
  if (lead < 0xE0) return {2};
  if (lead == 0xE0) return {3, 0xA0, 0xBF};
  if (lead == 0xED) return {3, 0x80, 0x9F};  // no surrogates
  if (lead < 0xF0) return {3};
  if (lead == 0xF0) return {4, 0x90, 0xBF};
  if (lead == 0xF4) return {4, 0x80, 0x8F};
  return {4};
}

utf8proc_category_t category(char32_t code) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(code));
}

bool is_letter(char32_t code) {
  const auto c = category(code);
  return c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO;
}

// Brings text into a normal form cluster by cluster. A cluster ends where nothing after can change what is before.
class UnicodeNormalizer {
 public:
  UnicodeNormalizer(const MarkedText& text, NormalForm form) : text_(text.text), to_(text) {
    const bool compatible = form == NormalForm::kNfkc || form == NormalForm::kNfkd;
    compose_ = form == NormalForm::kNfc || form == NormalForm::kNfkc;
    options_ = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (compatible ? UTF8PROC_COMPAT : 0);
  }

  MarkedText run() && {
    size_t position = 0;
    while (position < text_.size()) {
      const size_t ascii_end = skip_ascii(text_, position);
      if (ascii_end > position) {
        // The last one may carry the marks that follow.
        flush(position);
        to_.keep(ascii_end - 1 - position);
        cluster_.assign(1, static_cast<unsigned char>(text_[ascii_end - 1]));
        position = ascii_end;
        continue;
      }
      position += add(position);
    }
    flush(position);
    return std::move(to_).finish();
  }

 private:
  size_t add(size_t position) {
    constexpr size_t kLongestDecomposition = 32;  // U+FDFA has 18
    utf8proc_int32_t parts[kLongestDecomposition];
    const Utf8Char c = utf8_at(text_, position);
    const auto count =
        utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c.code), parts, kLongestDecomposition,
                                static_cast<utf8proc_option_t>(options_), nullptr);
    COHORT_CHECK(count > 0 && static_cast<size_t>(count) <= kLongestDecomposition);
    if (!continues_cluster(static_cast<char32_t>(parts[0]))) flush(position);
    cluster_.insert(cluster_.end(), parts, parts + count);
    return c.size;
  }

  // Marks are reordered or composed with what is before them, vowels and finals of Hangul composed.
  static bool continues_cluster(char32_t code) {
    return is_mark(code) || (code >= 0x1160 && code <= 0x11FF);
  }

  void sort_marks() {
    const auto combining_class = [](utf8proc_int32_t code) {
      return utf8proc_get_property(code)->combining_class;
    };
    auto begin = cluster_.begin();
    while (begin != cluster_.end()) {
      begin = std::find_if(begin, cluster_.end(), combining_class);
      const auto end = std::find_if_not(begin, cluster_.end(), combining_class);
      std::stable_sort(begin, end, [&](utf8proc_int32_t a, utf8proc_int32_t b) {
        return combining_class(a) < combining_class(b);
      });
      begin = end;
    }
  }

  // Ends the cluster that reaches from where we wrote last up to `end`.
  void flush(size_t end) {
    const std::string_view source = text_.substr(to_.position(), end - to_.position());
    if (cluster_.size() > 1) {
      sort_marks();
      if (compose_) {
        const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);
        const auto size = utf8proc_normalize_utf32(
            cluster_.data(), static_cast<utf8proc_ssize_t>(cluster_.size()), options);
        COHORT_CHECK(size >= 0);
        cluster_.resize(static_cast<size_t>(size));
      }
    }
    written_.clear();
    for (const utf8proc_int32_t code : cluster_) append_utf8(written_, static_cast<char32_t>(code));
    cluster_.clear();
    if (written_ == source) {
      to_.keep(source.size());
    } else {
      to_.replace(source.size(), written_);
    }
  }

  std::string_view text_;
  Rewriter to_;
  bool compose_ = false;
  int options_ = 0;
  std::vector<utf8proc_int32_t> cluster_;
  std::string written_;
};

}  // namespace

Utf8Char utf8_before(std::string_view text, size_t end) {
  size_t begin = end - 1;
  while (begin > 0 && is_utf8_continuation(text[begin])) --begin;
  return utf8_at(text, begin);
}

void append_utf8(std::string& out, char32_t code) {
  const auto put = [&](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  const auto put_tail = [&](int shift) { put(0x80 | (code >> shift & 0x3F)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6);
    put_tail(0);
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12);
    put_tail(6);
    put_tail(0);
  } else {
    put(0xF0 | code >> 18);
    put_tail(12);
    put_tail(6);
    put_tail(0);
  }
}

Utf8Step utf8_step(std::string_view bytes, size_t position) {
  const LeadByte lead = classify_lead(static_cast<unsigned char>(bytes[position]));
  if (lead.size == 0) return {Utf8Step::kBroken, 1};
  for (uint32_t i = 1; i < lead.size; ++i) {
    if (position + i == bytes.size()) return {Utf8Step::kUnfinished, i};
    const auto byte = static_cast<unsigned char>(bytes[position + i]);
    const unsigned char min = i == 1 ? lead.second_min : 0x80;
    const unsigned char max = i == 1 ? lead.second_max : 0xBF;
    if (byte < min || byte > max) return {Utf8Step::kBroken, i};
  }
  return {Utf8Step::kValid, lead.size};
}

bool is_valid_utf8(std::string_view bytes) {
  for (size_t at = skip_ascii(bytes, 0); at < bytes.size(); at = skip_ascii(bytes, at)) {
    const Utf8Step step = utf8_step(bytes, at);
    if (step.kind != Utf8Step::kValid) return false;
    at += step.size;
  }
  return true;
}

MarkedText repair_utf8(const MarkedText& text) {
  Rewriter to(text);
  const std::string_view bytes = text.text;
  while (to.position() < bytes.size()) {
    const Utf8Step step = utf8_step(bytes, to.position());
    if (step.kind == Utf8Step::kValid) {
      to.keep(step.size);
    } else {
      to.replace(step.size, kReplacementCharacter);
    }
  }
  return std::move(to).finish();
}

bool is_whitespace(char32_t code) {
  if (code < 0x80) return code == ' ' || (code >= '\t' && code <= '\r');
  return code == 0x85 || code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) ||
         code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

bool is_numeric(char32_t code) {
  if (code < 0x80) return code >= '0' && code <= '9';
  const auto c = category(code);
  return c >= UTF8PROC_CATEGORY_ND && c <= UTF8PROC_CATEGORY_NO;
}

bool is_punctuation(char32_t code) {
  if (code < 0x80) {
    return (code >= '!' && code <= '/') || (code >= ':' && code <= '@') ||
           (code >= '[' && code <= '`') || (code >= '{' && code <= '~');
  }
  const auto c = category(code);
  return c >= UTF8PROC_CATEGORY_PC && c <= UTF8PROC_CATEGORY_PO;
}

bool is_mark(char32_t code) {
  if (code < 0x300) return false;
  const auto c = category(code);
  return c >= UTF8PROC_CATEGORY_MN && c <= UTF8PROC_CATEGORY_ME;
}

bool is_word(char32_t code) {
  const auto c = category(code);
  return is_letter(code) || is_mark(code) || c == UTF8PROC_CATEGORY_ND ||
         c == UTF8PROC_CATEGORY_NL || c == UTF8PROC_CATEGORY_PC;
}

void append_lowercase(std::string& out, char32_t code) {
  if (code == 0x130) {  // the one letter whose lower case is two characters
    out += "i\xCC\x87";
    return;
  }
  append_utf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code))));
}

MarkedText normalize_unicode(const MarkedText& text, NormalForm form) {
  return UnicodeNormalizer(text, form).run();
}

}  // namespace cohort::text
