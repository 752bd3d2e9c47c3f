#include <algorithm>

#include "text/jinja/arguments.h"
#include "text/jinja/filters.h"
#include "text/jinja/format.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/string_format.h"
#include "text/jinja/text_functions.h"
#include "text/jinja/unicode.h"

namespace cohort::text::jinja {
namespace {

template <Case kWanted>
Result<Value> cased(Interpreter&, const Value& self, Arguments&) {
  return Value(change_case(to_text(self), kWanted));
}

// Words begin at the start and after white space, hyphens and opening brackets.
Result<Value> title(Interpreter&, const Value& self, Arguments&) {
  const Text text = to_text(self);
  Text out;
  size_t begin = 0;
  while (begin < text.size()) {
    const size_t word_end =
        std::min(text.bytes().find_first_of("- \t\n\r\f\v({[<", begin), text.size());
    const size_t end = std::min(word_end + 1, text.size());
    out.append(change_case(text.slice(begin, word_end), Case::kCapitalize));
    out.append_slice(text, word_end, end);
    begin = end;
  }
  return Value(std::move(out));
}

Result<Value> trim(Interpreter&, const Value& self, Arguments& arguments) {
  const Text* characters = arguments.positional[0].text();
  return Value(
      strip(to_text(self),
            characters ? std::optional<std::string_view>(characters->bytes()) : std::nullopt,
            Side::kBoth));
}

Result<Value> replace_filter(Interpreter&, const Value& self, Arguments& arguments) {
  COHORT_TRY(const int64_t count, integer_argument(arguments, 2, -1));
  const Text old_part = to_text(arguments.positional[0]);
  return Value(replace(to_text(self), old_part.bytes(), to_text(arguments.positional[1]), count));
}

Result<Value> indent(Interpreter&, const Value& self, Arguments& arguments) {
  const Text* given = arguments.positional[0].text();
  COHORT_TRY(const int64_t width, given ? Result<int64_t>(0) : integer_argument(arguments, 0, 4));
  const bool first = flag_argument(arguments, 1, false), blank = flag_argument(arguments, 2, false);
  if (width > 1000) return fail(Code::kInvalidArgument, "indent() by {}; the limit is 1000", width);
  const Text margin =
      given ? *given : Text(std::string(static_cast<size_t>(std::max<int64_t>(width, 0)), ' '));
  const Text text = to_text(self);
  Text out;
  size_t begin = 0;
  for (bool is_first = true; is_first || begin <= text.size(); is_first = false) {
    const size_t end = std::min(text.bytes().find('\n', begin), text.size());
    if (!is_first) out.append("\n", text.trusted_at(begin - 1));
    const bool wanted = is_first ? first : (blank || end > begin);
    if (wanted) out.append(margin);
    out.append_slice(text, begin, end);
    begin = end + 1;
  }
  return Value(std::move(out));
}

Result<Value> escape(Interpreter&, const Value& self, Arguments&) {
  static constexpr std::string_view kSpecial = "&<>\"'";
  static constexpr std::string_view kEntities[] = {"&amp;", "&lt;", "&gt;", "&#34;", "&#39;"};
  const Text text = to_text(self);
  Text out;
  size_t begin = 0;
  while (true) {
    const size_t found = std::min(text.bytes().find_first_of(kSpecial, begin), text.size());
    out.append_slice(text, begin, found);
    if (found == text.size()) return Value(std::move(out));
    out.append(kEntities[kSpecial.find(text.bytes()[found])], text.trusted_at(found));
    begin = found + 1;
  }
}

Result<Value> as_text(Interpreter&, const Value& self, Arguments&) { return Value(to_text(self)); }
Result<Value> as_repr(Interpreter&, const Value& self, Arguments&) { return Value(to_repr(self)); }

Result<Value> word_count(Interpreter&, const Value& self, Arguments&) {
  const Text text = to_text(self);
  int64_t count = 0;
  bool in_word = false;
  for (size_t at = 0; at < text.size();) {
    const auto [c, size] = decode_at(text.bytes(), at);
    const bool word = is_letter(c) || (c >= '0' && c <= '9') || c == '_';
    count += word && !in_word;
    in_word = word;
    at += size;
  }
  return Value(count);
}

Result<Value> center(Interpreter&, const Value& self, Arguments& arguments) {
  COHORT_TRY(const int64_t width, integer_argument(arguments, 0, 80));
  if (width > 100'000)
    return fail(Code::kInvalidArgument, "center() to {}; the limit is 100000", width);
  return Value(
      pad(to_text(self), static_cast<size_t>(std::max<int64_t>(width, 0)), " ", Side::kBoth));
}

Result<Value> truncate(Interpreter&, const Value& self, Arguments& arguments) {
  COHORT_TRY(const int64_t length, integer_argument(arguments, 0, 255));
  COHORT_TRY(const int64_t leeway, integer_argument(arguments, 3, 5));
  const Text text = to_text(self);
  const Text end =
      arguments.positional[2].is_undefined() ? Text("...") : to_text(arguments.positional[2]);
  const std::vector<size_t> offsets = code_point_offsets(text.bytes());
  const int64_t size = static_cast<int64_t>(offsets.size()) - 1;
  if (size <= length + leeway) return Value(text);
  const int64_t keep = length - static_cast<int64_t>(count_code_points(end.bytes()));
  if (keep < 0)
    return fail(Code::kInvalidArgument, "truncate() to {}, shorter than its end", length);
  Text out = text.slice(0, offsets[static_cast<size_t>(keep)]);
  const size_t space = out.bytes().rfind(' ');
  if (!flag_argument(arguments, 1, false) && space != std::string::npos) out = out.slice(0, space);
  out.append(end);
  return Value(std::move(out));
}

Result<Value> format_filter(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  std::vector<std::pair<Value, Value>> named;
  for (auto& [name, value] : arguments.named)
    named.emplace_back(text_value(name), std::move(value));
  const Value values = named.empty() ? make_list(std::move(arguments.positional), List::kTuple)
                                     : make_dict(std::move(named));
  COHORT_TRY(Text text, format_percent(to_text(self), values, interpreter.work()));
  return Value(std::move(text));
}

Result<JsonStyle> json_style(const Arguments& arguments) {
  JsonStyle style;
  style.ensure_ascii = flag_argument(arguments, 0, false);
  style.sort_keys = flag_argument(arguments, 3, false);
  const Value& indent = arguments.positional[1];
  if (const Text* text = indent.text()) style.indent = text->bytes();
  if (const auto width = indent.integer()) {
    if (*width > 100)
      return fail(Code::kInvalidArgument, "tojson(indent={}); the limit is 100", *width);
    style.indent = std::string(static_cast<size_t>(std::max<int64_t>(*width, 0)), ' ');
  }
  if (style.indent) style.item_separator.assign(1, ',');
  const Value& separators = arguments.positional[2];
  if (separators.is_undefined() || separators.is_none()) return style;
  const List* pair = separators.list();
  if (!pair || pair->items.size() != 2 || !pair->items[0].text() || !pair->items[1].text()) {
    return fail(Code::kInvalidArgument, "tojson(separators) wants two strings");
  }
  style.item_separator = pair->items[0].text()->bytes();
  style.key_separator = pair->items[1].text()->bytes();
  return style;
}

Result<Value> tojson(Interpreter&, const Value& self, Arguments& arguments) {
  COHORT_TRY(const JsonStyle style, json_style(arguments));
  COHORT_TRY(Text text, to_json_text(self, style));
  return Value(std::move(text));
}

Result<Value> url_encode(Interpreter&, const Value& self, Arguments&) {
  static constexpr std::string_view kPlain = "-._~/";
  const Text text = to_text(self);
  Text out;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text.bytes()[i];
    const bool plain = std::isalnum(static_cast<unsigned char>(c)) || kPlain.find(c) != kPlain.npos;
    out.append(plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c)),
               text.trusted_at(i));
  }
  return Value(std::move(out));
}

constexpr Native kFilters[] = {
    {"upper", "", cased<Case::kUpper>},
    {"lower", "", cased<Case::kLower>},
    {"capitalize", "", cased<Case::kCapitalize>},
    {"title", "", title},
    {"trim", "chars?", trim},
    {"replace", "old new count?", replace_filter},
    {"indent", "width? first? blank?", indent},
    {"escape", "", escape},
    {"e", "", escape},
    {"forceescape", "", escape},
    {"safe", "", as_text},
    {"string", "", as_text},
    {"pprint", "verbose?", as_repr},
    {"wordcount", "", word_count},
    {"center", "width?", center},
    {"truncate", "length? killwords? end? leeway?", truncate},
    {"format", "*", format_filter},
    {"tojson", "ensure_ascii? indent? separators? sort_keys?", tojson},
    {"urlencode", "", url_encode},
};

}  // namespace

std::span<const Native> text_filters() { return kFilters; }

}  // namespace cohort::text::jinja
