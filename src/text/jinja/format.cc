#include "text/jinja/format.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "text/jinja/unicode.h"

namespace cohort::text::jinja {
namespace {

// "d.ddd" and an exponent, as to_chars gives them, in the layout of Python's repr.
std::string place_point(std::string digits, int exponent, bool negative) {
  const int count = static_cast<int>(digits.size());
  std::string text;
  if (exponent < -4 || exponent >= 16) {
    text = digits.substr(0, 1);
    if (count > 1) text += "." + digits.substr(1);
    text += fmt::format("e{}{:02}", exponent < 0 ? '-' : '+', std::abs(exponent));
  } else if (exponent < 0) {
    text = "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  } else if (count <= exponent + 1) {
    text = digits + std::string(static_cast<size_t>(exponent + 1 - count), '0') + ".0";
  } else {
    digits.insert(static_cast<size_t>(exponent + 1), ".");
    text = digits;
  }
  return negative ? "-" + text : text;
}

void append_escape(std::string& out, char32_t c) {
  if (c < 0x100) {
    out += fmt::format("\\x{:02x}", static_cast<uint32_t>(c));
  } else if (c < 0x10000) {
    out += fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
  } else {
    out += fmt::format("\\U{:08x}", static_cast<uint32_t>(c));
  }
}

std::string quote_like_python(std::string_view text) {
  const bool has_single = text.find('\'') != text.npos, has_double = text.find('"') != text.npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  std::string out(1, quote);
  for (size_t at = 0; at < text.size();) {
    const auto [c, size] = decode_at(text, at);
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c == '\\' || c == static_cast<char32_t>(quote)) {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c != kInvalidCodePoint && !is_printable(c)) {
      append_escape(out, c);
    } else {
      out += text.substr(at, size);
    }
    at += size;
  }
  return out + quote;
}

void append_json_unit(std::string& out, char32_t unit) {
  out += fmt::format("\\u{:04x}", static_cast<uint32_t>(unit));
}

void append_json_character(std::string& out, char32_t c, std::string_view bytes,
                           bool ensure_ascii) {
  static constexpr std::string_view kShort = "\"\\\n\r\t\f\b", kLetters = "\"\\nrtfb";
  const size_t known = c < 0x80 ? kShort.find(static_cast<char>(c)) : kShort.npos;
  if (known != kShort.npos) {
    out += '\\';
    out += kLetters[known];
  } else if (c < 0x20) {
    append_json_unit(out, c);
  } else if (c >= 0x7F && ensure_ascii && c != kInvalidCodePoint) {
    if (c == 0x7F) {
      out += bytes;
    } else if (c < 0x10000) {
      append_json_unit(out, c);
    } else {
      append_json_unit(out, 0xD800 + ((c - 0x10000) >> 10));
      append_json_unit(out, 0xDC00 + ((c - 0x10000) & 0x3FF));
    }
  } else {
    out += bytes;
  }
}

std::string quote_json(std::string_view text, bool ensure_ascii) {
  std::string out = "\"";
  for (size_t at = 0; at < text.size();) {
    const auto [c, size] = decode_at(text, at);
    append_json_character(out, c, text.substr(at, size), ensure_ascii);
    at += size;
  }
  return out + "\"";
}

std::string json_float(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
  return float_repr(value);
}

Text bounded(std::string bytes, bool trusted) {
  if (bytes.size() <= Text::kMaxBytes) return Text(std::move(bytes), trusted);
  Text text;
  text.append(bytes, trusted);  // overflows
  return text;
}

// Recursion is bounded: values nest at most as deep as the interpreter allows. So is the output, by stopping early.
class ReprWriter {
 public:
  void write(const Value& value) {
    if (out_.size() > Text::kMaxBytes) return;
    if (const Text* text = value.text()) {
      trusted_ = trusted_ && text->all_trusted();
      out_ += quote_like_python(text->bytes());
    } else if (const List* list = value.list()) {
      write_list(*list);
    } else if (const Dict* dict = value.dict()) {
      write_dict(*dict);
    } else {
      out_ += value.is_undefined() ? "Undefined" : to_text(value).bytes();
    }
  }
  Text take() { return bounded(std::move(out_), trusted_); }

 private:
  void write_list(const List& list) {
    const bool is_list = list.kind == List::kList;
    out_ += is_list ? '[' : '(';
    for (size_t i = 0; i < list.items.size(); ++i) {
      if (i > 0) out_ += ", ";
      write(list.items[i]);
    }
    if (!is_list && list.items.size() == 1) out_ += ',';
    out_ += is_list ? ']' : ')';
  }
  void write_dict(const Dict& dict) {
    out_ += '{';
    for (size_t i = 0; i < dict.entries.size(); ++i) {
      if (i > 0) out_ += ", ";
      write(dict.entries[i].first);
      out_ += ": ";
      write(dict.entries[i].second);
    }
    out_ += '}';
  }

  std::string out_;
  bool trusted_ = true;
};

class JsonWriter {
 public:
  explicit JsonWriter(const JsonStyle& style) : style_(style) {}

  Result<void> write(const Value& value) {
    if (out_.size() > Text::kMaxBytes) return {};
    if (const Text* text = value.text()) {
      write_text(*text);
    } else if (const List* list = value.list()) {
      return write_list(*list);
    } else if (const Dict* dict = value.dict()) {
      return write_dict(*dict);
    } else if (value.is_none()) {
      out_ += "null";
    } else if (const bool* flag = value.as<bool>()) {
      out_ += *flag ? "true" : "false";
    } else if (const int64_t* integer = value.as<int64_t>()) {
      out_ += fmt::format("{}", *integer);
    } else if (const double* number = value.as<double>()) {
      out_ += json_float(*number);
    } else {
      return fail(Code::kInvalidArgument, "Object of type {} is not JSON serializable",
                  type_name(value));
    }
    return {};
  }
  Text take() { return bounded(std::move(out_), trusted_); }

 private:
  void write_text(const Text& text) {
    trusted_ = trusted_ && text.all_trusted();
    out_ += quote_json(text.bytes(), style_.ensure_ascii);
  }

  void new_line() {
    if (!style_.indent) return;
    out_ += '\n';
    for (int i = 0; i < level_; ++i) out_ += *style_.indent;
  }

  Result<void> write_list(const List& list) {
    if (list.items.empty()) {
      out_ += "[]";
      return {};
    }
    out_ += '[';
    ++level_;
    for (size_t i = 0; i < list.items.size(); ++i) {
      if (i > 0) out_ += style_.item_separator;
      new_line();
      COHORT_TRY_VOID(write(list.items[i]));
    }
    --level_;
    new_line();
    out_ += ']';
    return {};
  }

  // Keys of JSON are strings: numbers, booleans and None are quoted in their JSON form.
  Result<void> write_key(const Value& key) {
    if (const Text* text = key.text()) {
      write_text(*text);
      return {};
    }
    if (key.list() || key.dict()) {
      return fail(Code::kInvalidArgument, "keys must be str, int, float, bool or None, not {}",
                  type_name(key));
    }
    out_ += '"';
    COHORT_TRY_VOID(write(key));
    out_ += '"';
    return {};
  }

  Result<void> write_dict(const Dict& dict) {
    if (dict.entries.empty()) {
      out_ += "{}";
      return {};
    }
    COHORT_TRY(const auto order, key_order(dict));
    out_ += '{';
    ++level_;
    for (size_t i = 0; i < order.size(); ++i) {
      if (i > 0) out_ += style_.item_separator;
      new_line();
      COHORT_TRY_VOID(write_key(dict.entries[order[i]].first));
      out_ += style_.key_separator;
      COHORT_TRY_VOID(write(dict.entries[order[i]].second));
    }
    --level_;
    new_line();
    out_ += '}';
    return {};
  }

  Result<std::vector<size_t>> key_order(const Dict& dict) const {
    std::vector<size_t> order(dict.entries.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    if (!style_.sort_keys) return order;
    Result<void> status;
    Work work{SIZE_MAX};  // keys differ, so together they are no longer than what built them
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
      const auto ordering = compare(dict.entries[a].first, dict.entries[b].first, work);
      if (!ordering && status) status = tl::unexpected<Error>(ordering.error());
      return ordering && *ordering < 0;
    });
    COHORT_TRY_VOID(status);
    return order;
  }

  const JsonStyle& style_;
  std::string out_;
  int level_ = 0;
  bool trusted_ = true;
};

}  // namespace

std::string float_repr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), std::abs(value),
                                 std::chars_format::scientific);
  const std::string_view shortest(buffer, static_cast<size_t>(end.ptr - buffer));
  const size_t exponent_at = shortest.find('e');
  std::string digits(shortest.substr(0, exponent_at));
  if (digits.size() > 1) digits.erase(1, 1);
  int exponent = 0;
  const bool plus = shortest[exponent_at + 1] == '+';
  std::from_chars(shortest.data() + exponent_at + (plus ? 2 : 1), end.ptr, exponent);
  return place_point(std::move(digits), exponent, std::signbit(value));
}

Text to_text(const Value& value) {
  if (const Text* text = value.text()) return *text;
  if (value.list() || value.dict()) return to_repr(value);
  if (value.is_undefined()) return Text();
  if (value.is_none()) return Text("None");
  if (const bool* flag = value.as<bool>()) return Text(*flag ? "True" : "False");
  if (const int64_t* integer = value.as<int64_t>()) return Text(fmt::format("{}", *integer));
  if (const double* number = value.as<double>()) return Text(float_repr(*number));
  if (const Callable* callable = value.callable())
    return Text(fmt::format("<function {}>", callable->name));
  return Text(fmt::format("<{}>", type_name(value)));
}

Text to_repr(const Value& value) {
  ReprWriter writer;
  writer.write(value);
  return writer.take();
}

Result<Text> to_json_text(const Value& value, const JsonStyle& style) {
  JsonWriter writer(style);
  COHORT_TRY_VOID(writer.write(value));
  return writer.take();
}

}  // namespace cohort::text::jinja
