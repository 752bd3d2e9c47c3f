#include <algorithm>
#include <array>
#include <cctype>
#include <optional>

#include "text/jinja/token.h"
#include "text/jinja/unicode.h"

namespace cohort::text::jinja {
namespace {

std::string normalise_newlines(std::string_view source) {
  std::string text;
  text.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    const bool crlf = source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n';
    if (!crlf) text += source[i] == '\r' ? '\n' : source[i];
  }
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

bool is_name_start(char c) {
  return std::isalpha(static_cast<unsigned char>(c)) || c == '_' ||
         (static_cast<unsigned char>(c) & 0x80);
}
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_part(char c) { return is_name_start(c) || is_digit(c); }

std::optional<uint32_t> hex_value(std::string_view digits) {
  uint32_t value = 0;
  for (const char c : digits) {
    if (!std::isxdigit(static_cast<unsigned char>(c))) return std::nullopt;
    value = value * 16 + static_cast<uint32_t>(is_digit(c) ? c - '0' : (c | 32) - 'a' + 10);
  }
  return value;
}

// Handles the escape at text[at] (just after the backslash); returns how many bytes it took, 0 when it is none of
// Python's.
size_t append_escaped(std::string& out, std::string_view text, size_t at) {
  static constexpr std::string_view kFrom = "ntr\\'\"abfv0", kTo("\n\t\r\\'\"\a\b\f\v\0", 11);
  const char c = text[at];
  if (const size_t known = kFrom.find(c); known != kFrom.npos) {
    out += kTo[known];
    return 1;
  }
  if (c == '\n') return 1;
  const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
  if (digits == 0 || at + 1 + digits > text.size()) return 0;
  const auto value = hex_value(text.substr(at + 1, digits));
  if (!value) return 0;
  append_utf8(out, *value);
  return 1 + digits;
}

std::string unescape(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\' || i + 1 == text.size()) {
      out += text[i];
      continue;
    }
    const size_t taken = append_escaped(out, text, i + 1);
    if (taken == 0) out += '\\';
    i += taken;
  }
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {
    for (size_t i = 0; i < source_.size(); ++i) {
      if (source_[i] == '\n') line_starts_.push_back(i + 1);
    }
  }

  Result<std::vector<Token>> run() {
    while (pos_ < source_.size()) {
      const size_t tag = find_tag();
      if (tag == source_.npos) {
        emit(Token::kData, std::string(source_.substr(pos_)), pos_);
        break;
      }
      COHORT_TRY_VOID(lex_tag(tag));
      line_starting_ = source_[pos_ - 1] == '\n';
    }
    emit(Token::kEnd, "", source_.size());
    return std::move(tokens_);
  }

 private:
  size_t find_tag() const {
    for (size_t at = source_.find('{', pos_); at != source_.npos; at = source_.find('{', at + 1)) {
      const char next = at + 1 < source_.size() ? source_[at + 1] : '\0';
      if (next == '{' || next == '%' || next == '#') return at;
    }
    return source_.npos;
  }

  Position position(size_t offset) const {
    const auto line = std::upper_bound(line_starts_.begin(), line_starts_.end(), offset) - 1;
    return {static_cast<int>(line - line_starts_.begin()) + 1,
            static_cast<int>(offset - *line) + 1};
  }
  tl::unexpected<Error> fault(size_t offset, std::string_view what) const {
    return fail_at(position(offset), what);
  }
  void emit(Token::Kind kind, std::string text, size_t offset) {
    if (kind == Token::kData && text.empty()) return;
    tokens_.push_back({kind, std::move(text), position(offset)});
  }

  bool starts_with(std::string_view what) const { return source_.substr(pos_).starts_with(what); }
  bool skip(std::string_view what) {
    if (!starts_with(what)) return false;
    pos_ += what.size();
    return true;
  }
  void skip_white_space() {
    while (pos_ < source_.size()) {
      const auto [c, size] = decode_at(source_, pos_);
      if (!is_space(c)) return;
      pos_ += size;
    }
  }
  void skip_newline() { skip("\n"); }

  // The text from pos_ up to a tag, less what the tag's sign and lstrip_blocks take away.
  void emit_data(size_t tag, char sign, bool may_strip_line) {
    std::string_view text = source_.substr(pos_, tag - pos_);
    if (sign == '-') {
      text = text.substr(0, end_without_white_space(text));
    } else if (sign != '+' && may_strip_line) {
      const size_t newline = text.rfind('\n');
      const size_t line = newline == text.npos ? 0 : newline + 1;
      const bool at_line_start = line > 0 || line_starting_;
      if (at_line_start && end_without_white_space(text.substr(line)) == 0)
        text = text.substr(0, line);
    }
    emit(Token::kData, std::string(text), pos_);
  }

  static size_t end_without_white_space(std::string_view text) {
    size_t end = 0;
    for (size_t at = 0; at < text.size();) {
      const auto [c, size] = decode_at(text, at);
      at += size;
      if (!is_space(c)) end = at;
    }
    return end;
  }

  Result<void> lex_tag(size_t tag) {
    const char kind = source_[tag + 1];
    const char after = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
    const char sign = after == '-' || after == '+' ? after : '\0';
    emit_data(tag, sign, kind != '{');
    pos_ = tag + (sign ? 3 : 2);
    if (kind == '#') return lex_comment(tag);
    if (kind == '%' && skip_raw_begin()) return lex_raw(tag);
    emit(kind == '{' ? Token::kOutputBegin : Token::kBlockBegin, "", tag);
    return lex_expression(kind == '{' ? "}}" : "%}", tag);
  }

  Result<void> lex_comment(size_t tag) {
    const size_t begin = pos_;
    const size_t end = source_.find("#}", pos_);
    if (end == source_.npos) return fault(tag, "this comment is never closed");
    const char sign = end > begin ? source_[end - 1] : '\0';
    pos_ = end + 2;
    trim_after(sign);
    return {};
  }

  void trim_after(char sign) {
    if (sign == '-') {
      skip_white_space();
    } else if (sign != '+') {
      skip_newline();
    }
  }

  bool skip_raw_begin() {
    const size_t begin = pos_;
    skip_white_space();
    if (skip("raw")) {
      skip_white_space();
      if (skip("-%}")) {
        skip_white_space();
        return true;
      }
      if (skip("%}")) return true;
    }
    pos_ = begin;
    return false;
  }

  Result<void> lex_raw(size_t tag) {
    line_starting_ = source_[pos_ - 1] == '\n';
    const size_t begin = pos_;
    for (size_t at = source_.find("{%", begin); at != source_.npos;
         at = source_.find("{%", at + 1)) {
      pos_ = at + 2;
      const char sign = starts_with("-") || starts_with("+") ? source_[pos_++] : '\0';
      skip_white_space();
      if (!skip("endraw")) continue;
      skip_white_space();
      const char end_sign = starts_with("-") || starts_with("+") ? source_[pos_++] : '\0';
      if (!skip("%}")) continue;
      const size_t end = pos_;
      pos_ = begin;
      emit_data(at, sign, true);
      pos_ = end;
      trim_after(end_sign);
      return {};
    }
    return fault(tag, "this raw block is never closed");
  }

  Result<void> lex_expression(std::string_view closing, size_t tag) {
    const size_t tokens_before = tokens_.size();
    std::string open_brackets;
    while (true) {
      skip_white_space();
      if (pos_ >= source_.size()) return fault(tag, "this tag is never closed");
      if (open_brackets.empty() && lex_closing(closing)) return {};
      if (tokens_.size() - tokens_before > kMaxTagTokens) return fault(tag, "this tag is too long");
      COHORT_TRY_VOID(lex_word(open_brackets));
    }
  }

  bool lex_closing(std::string_view closing) {
    const size_t begin = pos_;
    const char sign = starts_with("-") || starts_with("+") ? source_[pos_] : '\0';
    if (sign) ++pos_;
    if (!(sign == '+' && closing == "}}") && skip(closing)) {
      emit(closing == "}}" ? Token::kOutputEnd : Token::kBlockEnd, "", begin);
      if (sign == '-' || closing == "%}") trim_after(sign);
      return true;
    }
    pos_ = begin;
    return false;
  }

  Result<void> lex_word(std::string& open_brackets) {
    const char c = source_[pos_];
    if (is_name_start(c)) {
      const size_t begin = pos_;
      while (pos_ < source_.size() && is_name_part(source_[pos_])) ++pos_;
      emit(Token::kName, std::string(source_.substr(begin, pos_ - begin)), begin);
      return {};
    }
    if (is_digit(c)) return lex_number();
    if (c == '"' || c == '\'') return lex_string(c);
    return lex_operator(open_brackets);
  }

  Result<void> lex_string(char quote) {
    const size_t begin = pos_++;
    const size_t text = pos_;
    while (pos_ < source_.size() && source_[pos_] != quote) pos_ += source_[pos_] == '\\' ? 2 : 1;
    if (pos_ >= source_.size()) return fault(begin, "this string is never closed");
    emit(Token::kString, unescape(source_.substr(text, pos_ - text)), begin);
    ++pos_;
    return {};
  }

  void take_digits(std::string& digits) {
    while (pos_ < source_.size() && (is_digit(source_[pos_]) || source_[pos_] == '_')) {
      if (source_[pos_] != '_') digits += source_[pos_];
      ++pos_;
    }
  }
  bool digit_at(size_t offset) const {
    return offset < source_.size() && is_digit(source_[offset]);
  }

  Result<void> lex_number() {
    const size_t begin = pos_;
    const bool after_dot = begin > 0 && source_[begin - 1] == '.';  // x.0.1 is two subscripts
    std::string digits;
    if (source_[pos_] == '0' && pos_ + 1 < source_.size() &&
        std::isalpha(static_cast<unsigned char>(source_[pos_ + 1]))) {
      while (pos_ < source_.size() && is_name_part(source_[pos_])) digits += source_[pos_++];
      emit(Token::kInteger, std::move(digits), begin);
      return {};
    }
    take_digits(digits);
    Token::Kind kind = Token::kInteger;
    if (!after_dot && starts_with(".") && digit_at(pos_ + 1)) {
      kind = Token::kFloat;
      ++pos_;
      digits += '.';
      take_digits(digits);
    }
    if (!after_dot && (starts_with("e") || starts_with("E"))) {
      const bool has_sign =
          pos_ + 1 < source_.size() && (source_[pos_ + 1] == '+' || source_[pos_ + 1] == '-');
      if (digit_at(pos_ + (has_sign ? 2 : 1))) {
        kind = Token::kFloat;
        digits += 'e';
        if (has_sign) digits += source_[pos_ + 1];
        pos_ += has_sign ? 2 : 1;
        take_digits(digits);
      }
    }
    emit(kind, std::move(digits), begin);
    return {};
  }

  Result<void> lex_operator(std::string& open_brackets) {
    static constexpr std::array<std::string_view, 6> kLong = {"==", "!=", "<=", ">=", "**", "//"};
    static constexpr std::string_view kShort = "+-/*%~[](){}=<>.:|,;";
    const size_t begin = pos_;
    for (const std::string_view name : kLong) {
      if (!skip(name)) continue;
      emit(Token::kOperator, std::string(name), begin);
      return {};
    }
    const char c = source_[pos_];
    if (kShort.find(c) == kShort.npos)
      return fault(begin, fmt::format("unexpected character '{}'", c));
    COHORT_TRY_VOID(balance(c, open_brackets));
    ++pos_;
    emit(Token::kOperator, std::string(1, c), begin);
    return {};
  }

  Result<void> balance(char c, std::string& open_brackets) const {
    static constexpr std::string_view kOpen = "([{", kClose = ")]}";
    if (kOpen.find(c) != kOpen.npos) open_brackets += kClose[kOpen.find(c)];
    if (kClose.find(c) == kClose.npos) return {};
    if (open_brackets.empty()) return fault(pos_, fmt::format("unexpected '{}'", c));
    if (open_brackets.back() != c) {
      return fault(pos_, fmt::format("unexpected '{}', expected '{}'", c, open_brackets.back()));
    }
    open_brackets.pop_back();
    return {};
  }

  std::string_view source_;
  size_t pos_ = 0;
  bool line_starting_ = true;
  std::vector<size_t> line_starts_ = {0};
  std::vector<Token> tokens_;
};

}  // namespace

tl::unexpected<Error> fail_at(Position at, std::string_view what) {
  return fail(Code::kInvalidArgument, "line {}, column {}: {}", at.line, at.column, what);
}

Result<std::vector<Token>> tokenize(std::string_view source) {
  if (source.size() > kMaxTemplateBytes) {
    return fail(Code::kTooLarge, "a chat template of {} bytes; the limit is {}", source.size(),
                kMaxTemplateBytes);
  }
  const std::string text = normalise_newlines(source);
  return Lexer(text).run();
}

}  // namespace cohort::text::jinja
