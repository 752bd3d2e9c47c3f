#include "text/jinja/string_format.h"

#include <cstdio>

#include "text/jinja/format.h"
#include "text/jinja/text_functions.h"
#include "text/jinja/unicode.h"

namespace cohort::text::jinja {
namespace {

constexpr int kMaxWidth = 10'000;
constexpr int kMaxPrecision = 100;

struct Spec {
  char type = '\0';
  char align = '\0';  // < > ^, or nothing for the type's own
  std::string fill = " ";
  bool zero = false, plus = false, thousands = false;
  int width = 0;
  int precision = -1;
};

class Cursor {
 public:
  explicit Cursor(std::string_view text) : text_(text) {}
  bool done() const { return at_ >= text_.size(); }
  char peek() const { return done() ? '\0' : text_[at_]; }
  char take() { return done() ? '\0' : text_[at_++]; }
  bool skip(char c) { return peek() == c && !done() && (++at_, true); }
  size_t at() const { return at_; }
  std::string_view until(char end) {
    const size_t begin = at_;
    at_ = std::min(text_.find(end, at_), text_.size());
    return text_.substr(begin, at_ - begin);
  }
  Result<int> number(int limit) {
    int value = 0;
    while (peek() >= '0' && peek() <= '9') {
      value = value * 10 + (take() - '0');
      if (value > limit) return fail(Code::kInvalidArgument, "a width or precision over {}", limit);
    }
    return value;
  }

 private:
  std::string_view text_;
  size_t at_ = 0;
};

// digits with a comma every three, up to the point
std::string group_thousands(std::string digits) {
  size_t end = std::min(digits.find_first_of(".e"), digits.size());
  const size_t first = digits.starts_with('-') || digits.starts_with('+') ? 1 : 0;
  while (end > first + 3) {
    end -= 3;
    digits.insert(end, ",");
  }
  return digits;
}

Result<std::string> format_integer(int64_t value, const Spec& spec) {
  switch (spec.type) {
    case 'x': return fmt::format("{:x}", value);
    case 'X': return fmt::format("{:X}", value);
    case 'o': return fmt::format("{:o}", value);
    case 'b': return fmt::format("{:b}", value);
    default: return fmt::format("{}", value);
  }
}

Result<std::string> format_number(const Value& value, const Spec& spec) {
  static constexpr std::string_view kFloatTypes = "feEgGF%";
  const bool as_float = kFloatTypes.find(spec.type) != kFloatTypes.npos;
  if (!value.number()) {
    return fail(Code::kInvalidArgument, "%{} format: a number is required, not '{}'", spec.type,
                type_name(value));
  }
  std::string text;
  if (!as_float) {
    COHORT_TRY(text, format_integer(value.integer().value_or(static_cast<int64_t>(*value.number())),
                                    spec));
  } else {
    const double scaled = *value.number() * (spec.type == '%' ? 100 : 1);
    const char pattern[] = {'%', '.', '*', spec.type == '%' ? 'f' : spec.type, '\0'};
    char buffer[512];  // the longest double has 309 digits before the point
    std::snprintf(buffer, sizeof(buffer), pattern, spec.precision < 0 ? 6 : spec.precision, scaled);
    text = buffer;
    if (spec.type == '%') text += '%';
  }
  if (spec.thousands) text = group_thousands(std::move(text));
  if (spec.plus && !text.starts_with('-')) text.insert(0, "+");
  return text;
}

Text lay_out(Text text, const Spec& spec, bool is_number) {
  const size_t width = static_cast<size_t>(spec.width);
  const bool fill_zeros = spec.zero && is_number && !spec.align;
  if (fill_zeros) {
    const bool has_sign = text.bytes().starts_with('-') || text.bytes().starts_with('+');
    Text sign = text.slice(0, has_sign ? 1 : 0);
    sign.append(pad(text.slice(sign.size(), text.size()), width - std::min(width, sign.size()), "0",
                    Side::kLeft));
    return sign;
  }
  const char align = spec.align ? spec.align : is_number ? '>' : '<';
  if (align == '^') {  // an odd space goes to the right, other than in str.center
    const size_t length = count_code_points(text.bytes());
    text = pad(text, length + (std::max(width, length) - length) / 2, spec.fill, Side::kLeft);
  }
  return pad(text, width, spec.fill, align == '>' ? Side::kLeft : Side::kRight);
}

Text cut(const Text& text, int precision) {
  if (precision < 0) return text;
  const std::vector<size_t> offsets = code_point_offsets(text.bytes());
  return text.slice(0, offsets[std::min(static_cast<size_t>(precision), offsets.size() - 1)]);
}

Result<Text> format_value(const Value& value, const Spec& spec, Work& work) {
  static constexpr std::string_view kNumberTypes = "dixXobfeEgGF%";
  if (spec.type && kNumberTypes.find(spec.type) != kNumberTypes.npos) {
    COHORT_TRY(std::string text, format_number(value, spec));
    return lay_out(Text(std::move(text)), spec, true);
  }
  const bool is_number = value.number().has_value();
  if (is_number && !spec.type && spec.thousands) {
    COHORT_TRY(std::string text, format_number(value, spec));
    return lay_out(Text(std::move(text)), spec, true);
  }
  if (is_number && !spec.type && spec.precision >= 0) {
    Spec general = spec;
    general.type = 'g';
    return format_value(value, general, work);
  }
  const Text text = spec.type == 'r' ? to_repr(value) : to_text(value);
  if (!work.spend(text.size())) return Text();
  return lay_out(cut(text, spec.precision), spec, is_number && !spec.type);
}

// Everything after '%' (and the name) up to the type.
Result<Spec> read_percent_spec(Cursor& cursor) {
  Spec spec;
  spec.align = '>';
  while (true) {
    if (cursor.skip('-')) {
      spec.align = '<';
    } else if (cursor.skip('0')) {
      spec.zero = true;
    } else if (cursor.skip('+')) {
      spec.plus = true;
    } else if (!cursor.skip(' ') && !cursor.skip('#')) {
      break;
    }
  }
  COHORT_TRY(spec.width, cursor.number(kMaxWidth));
  if (cursor.skip('.')) {
    COHORT_TRY(spec.precision, cursor.number(kMaxPrecision));
  }
  spec.type = cursor.take();
  static constexpr std::string_view kTypes = "srdixXofeEgGFc";
  if (!spec.type || kTypes.find(spec.type) == kTypes.npos) {
    return fail(Code::kInvalidArgument, "unsupported format character '{}'", spec.type);
  }
  if (spec.zero && spec.align == '>') spec.align = '\0';
  return spec;
}

Result<Spec> read_brace_spec(std::string_view text) {
  Spec spec;
  static constexpr std::string_view kAligns = "<>^";
  if (!text.empty()) {
    const size_t fill = decode_at(text, 0).size_bytes;
    if (fill < text.size() && kAligns.find(text[fill]) != kAligns.npos) {
      spec.fill = text.substr(0, fill);
      spec.align = text[fill];
      text.remove_prefix(fill + 1);
    } else if (kAligns.find(text[0]) != kAligns.npos) {
      spec.align = text[0];
      text.remove_prefix(1);
    }
  }
  Cursor cursor(text);
  spec.plus = cursor.skip('+');
  spec.zero = cursor.skip('0');
  COHORT_TRY(spec.width, cursor.number(kMaxWidth));
  spec.thousands = cursor.skip(',');
  if (cursor.skip('.')) {
    COHORT_TRY(spec.precision, cursor.number(kMaxPrecision));
  }
  spec.type = cursor.take();
  if (!cursor.done()) return fail(Code::kInvalidArgument, "invalid format specifier '{}'", text);
  return spec;
}

class PercentArguments {
 public:
  explicit PercentArguments(const Value& values) : values_(values) {}

  Result<Value> named(std::string_view name) const {
    const Value* found = values_.dict() ? values_.dict()->find(name) : nullptr;
    if (!found) return fail(Code::kInvalidArgument, "format: no value for '{}'", name);
    return *found;
  }
  Result<Value> next() {
    const List* list = values_.list();
    const bool many = list && list->kind != List::kList;
    if (next_ >= (many ? list->items.size() : 1)) {
      return fail(Code::kInvalidArgument, "not enough arguments for format string");
    }
    return many ? list->items[next_++] : (++next_, values_);
  }

 private:
  const Value& values_;
  size_t next_ = 0;
};

Result<Value> brace_argument(std::string_view field, const Arguments& arguments, size_t& next) {
  if (field.empty()) field = {};
  const bool is_index = field.find_first_not_of("0123456789") == field.npos;
  if (!is_index) {
    for (const auto& [name, value] : arguments.named) {
      if (name == field) return value;
    }
    return fail(Code::kInvalidArgument, "format: no value for '{}'", field);
  }
  Cursor cursor(field);
  COHORT_TRY(const int written, cursor.number(kMaxWidth));
  const size_t index = field.empty() ? next++ : static_cast<size_t>(written);
  if (index >= arguments.positional.size())
    return fail(Code::kInvalidArgument, "format: no argument {}", index);
  return arguments.positional[index];
}

Result<Text> format_field(std::string_view field, const Arguments& arguments, size_t& next,
                          Work& work) {
  std::string_view spec_text;
  if (const size_t colon = field.find(':'); colon != field.npos) {
    spec_text = field.substr(colon + 1);
    field = field.substr(0, colon);
  }
  const bool as_repr = field.ends_with("!r");
  if (as_repr || field.ends_with("!s")) field.remove_suffix(2);
  COHORT_TRY(Value value, brace_argument(field, arguments, next));
  COHORT_TRY(const Spec spec, read_brace_spec(spec_text));
  if (as_repr) value = Value(to_repr(value));
  return format_value(value, spec, work);
}

}  // namespace

Result<Text> format_percent(const Text& format, const Value& values, Work& work) {
  const std::string_view bytes = format.bytes();
  PercentArguments arguments(values);
  Cursor cursor(bytes);
  Text out;
  while (!cursor.done() && !work.exhausted && !out.overflowed()) {
    const size_t begin = cursor.at();
    cursor.until('%');
    out.append_slice(format, begin, cursor.at());
    if (!cursor.skip('%')) break;
    if (cursor.skip('%')) {
      out.append("%", true);
      continue;
    }
    std::optional<std::string_view> name;
    if (cursor.skip('(')) {
      name = cursor.until(')');
      cursor.take();
    }
    COHORT_TRY(const Spec spec, read_percent_spec(cursor));
    COHORT_TRY(const Value value, name ? arguments.named(*name) : arguments.next());
    COHORT_TRY(const Text text, format_value(value, spec, work));
    out.append(text);
  }
  return out;
}

Result<Text> format_braces(const Text& format, const Arguments& arguments, Work& work) {
  const std::string_view bytes = format.bytes();
  Cursor cursor(bytes);
  size_t next = 0;
  Text out;
  while (!cursor.done() && !work.exhausted && !out.overflowed()) {
    const size_t at = cursor.at();
    const char c = cursor.take();
    if ((c == '{' || c == '}') && cursor.skip(c)) {
      out.append_slice(format, at, at + 1);
    } else if (c == '{') {
      const std::string_view field = cursor.until('}');
      if (!cursor.skip('}')) return fail(Code::kInvalidArgument, "expected '}}' in format string");
      COHORT_TRY(const Text text, format_field(field, arguments, next, work));
      out.append(text);
    } else if (c == '}') {
      return fail(Code::kInvalidArgument, "single '}}' in format string");
    } else {
      out.append_slice(format, at, at + 1);
    }
  }
  return out;
}

}  // namespace cohort::text::jinja
