// Methods of strings, lists, dicts and loops, behind find_method.
#include <algorithm>
#include <span>

#include "text/jinja/arguments.h"
#include "text/jinja/builtins.h"
#include "text/jinja/format.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/operators.h"
#include "text/jinja/string_format.h"
#include "text/jinja/text_functions.h"
#include "text/jinja/unicode.h"

namespace cohort::text::jinja {
namespace {

constexpr int64_t kMaxPadding = 100'000;

template <Case kWanted>
Result<Value> cased(Interpreter&, const Value& self, Arguments&) {
  return Value(change_case(*self.text(), kWanted));
}

template <Side kSide>
Result<Value> stripped(Interpreter&, const Value& self, Arguments& arguments) {
  const Value& given = arguments.positional[0];
  if (given.is_undefined() || given.is_none())
    return Value(strip(*self.text(), std::nullopt, kSide));
  COHORT_TRY(const Text* characters, text_argument(arguments, 0));
  return Value(strip(*self.text(), characters->bytes(), kSide));
}

template <Side kFrom>
Result<Value> split_text(Interpreter&, const Value& self, Arguments& arguments) {
  COHORT_TRY(const int64_t limit, integer_argument(arguments, 1, -1));
  const Value& separator = arguments.positional[0];
  if (separator.is_undefined() || separator.is_none()) {
    return as_list(split_white_space(*self.text(), limit, kFrom));
  }
  COHORT_TRY(const Text* text, text_argument(arguments, 0));
  if (text->empty()) return fail(Code::kInvalidArgument, "empty separator");
  return as_list(split(*self.text(), text->bytes(), limit, kFrom));
}

Result<Value> splitlines(Interpreter&, const Value& self, Arguments& arguments) {
  return as_list(split_lines(*self.text(), flag_argument(arguments, 0, false)));
}

// Head, separator, tail; the separator is empty when it does not occur.
template <Side kFrom>
Result<Value> partition(Interpreter&, const Value& self, Arguments& arguments) {
  COHORT_TRY(const Text* separator, text_argument(arguments, 0));
  if (separator->empty()) return fail(Code::kInvalidArgument, "empty separator");
  const Text& text = *self.text();
  const size_t found = kFrom == Side::kLeft ? find_bytes(text.bytes(), separator->bytes(), 0)
                                            : find_bytes_back(text.bytes(), separator->bytes());
  if (found == std::string::npos) {
    const Value whole(text), nothing = text_value("");
    return kFrom == Side::kLeft ? make_list({whole, nothing, nothing}, List::kTuple)
                                : make_list({nothing, nothing, whole}, List::kTuple);
  }
  const size_t after = found + separator->size();
  return make_list({Value(text.slice(0, found)), Value(text.slice(found, after)),
                    Value(text.slice(after, text.size()))},
                   List::kTuple);
}

// self[start:stop], and the index of its first code point.
struct Window {
  Text text;
  int64_t start;
};
Result<Window> window(const Value& self, const Arguments& arguments) {
  const Value &start = arguments.positional[1], &stop = arguments.positional[2];
  if (start.is_undefined() && stop.is_undefined()) return Window{*self.text(), 0};
  COHORT_TRY(const Value part, get_slice(self, start, stop, Value()));
  COHORT_TRY(int64_t first, integer_argument(arguments, 1, 0));
  if (first < 0) first += static_cast<int64_t>(count_code_points(self.text()->bytes()));
  return Window{*part.text(), std::max<int64_t>(first, 0)};
}

template <bool kAtEnd>
Result<Value> starts_or_ends(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  COHORT_TRY(const Window where, window(self, arguments));
  const std::string& text = where.text.bytes();
  const auto matches = [&](const Text& part) {
    interpreter.work().spend(std::min(part.size(), text.size()));
    return kAtEnd ? text.ends_with(part.bytes()) : text.starts_with(part.bytes());
  };
  const List* choices = arguments.positional[0].list();
  if (!choices) {
    COHORT_TRY(const Text* part, text_argument(arguments, 0));
    return Value(matches(*part));
  }
  return Value(std::any_of(choices->items.begin(), choices->items.end(), [&](const Value& choice) {
    return choice.text() && matches(*choice.text());
  }));
}

// -1 when it does not occur.
Result<int64_t> find_index(const Value& self, Arguments& arguments, Side from) {
  COHORT_TRY(const Text* part, text_argument(arguments, 0));
  COHORT_TRY(const Window where, window(self, arguments));
  const std::string& text = where.text.bytes();
  const size_t found = from == Side::kLeft ? find_bytes(text, part->bytes(), 0)
                                           : find_bytes_back(text, part->bytes());
  if (found == std::string::npos) return -1;
  return where.start +
         static_cast<int64_t>(count_code_points(std::string_view(text).substr(0, found)));
}

template <Side kFrom>
Result<Value> find(Interpreter&, const Value& self, Arguments& arguments) {
  COHORT_TRY(const int64_t found, find_index(self, arguments, kFrom));
  return Value(found);
}

template <Side kFrom>
Result<Value> index(Interpreter&, const Value& self, Arguments& arguments) {
  COHORT_TRY(const int64_t found, find_index(self, arguments, kFrom));
  if (found < 0) return fail(Code::kInvalidArgument, "substring not found");
  return Value(found);
}

Result<Value> count(Interpreter&, const Value& self, Arguments& arguments) {
  COHORT_TRY(const Text* part, text_argument(arguments, 0));
  COHORT_TRY(const Window where, window(self, arguments));
  const std::string& text = where.text.bytes();
  if (part->empty()) return Value(static_cast<int64_t>(count_code_points(text)) + 1);
  int64_t found = 0;
  for (size_t at = find_bytes(text, part->bytes(), 0); at != std::string::npos;
       at = find_bytes(text, part->bytes(), at + part->size())) {
    ++found;
  }
  return Value(found);
}

Result<Value> replace_method(Interpreter&, const Value& self, Arguments& arguments) {
  COHORT_TRY(const Text* old_part, text_argument(arguments, 0));
  COHORT_TRY(const Text* new_part, text_argument(arguments, 1));
  COHORT_TRY(const int64_t limit, integer_argument(arguments, 2, -1));
  return Value(replace(*self.text(), old_part->bytes(), *new_part, limit));
}

Result<Value> remove_prefix(Interpreter&, const Value& self, Arguments& arguments) {
  COHORT_TRY(const Text* prefix, text_argument(arguments, 0));
  const Text& text = *self.text();
  return Value(text.bytes().starts_with(prefix->bytes()) ? text.slice(prefix->size(), text.size())
                                                         : text);
}

Result<Value> remove_suffix(Interpreter&, const Value& self, Arguments& arguments) {
  COHORT_TRY(const Text* suffix, text_argument(arguments, 0));
  const Text& text = *self.text();
  return Value(text.bytes().ends_with(suffix->bytes()) ? text.slice(0, text.size() - suffix->size())
                                                       : text);
}

template <Side kSide>
Result<Value> justify(Interpreter&, const Value& self, Arguments& arguments) {
  COHORT_TRY(const int64_t width, integer_argument(arguments, 0, 0));
  if (width > kMaxPadding)
    return fail(Code::kTooLarge, "padding to {}; the limit is {}", width, kMaxPadding);
  const Text* fill = arguments.positional[1].text();
  if (fill && count_code_points(fill->bytes()) != 1) {
    return fail(Code::kInvalidArgument, "the fill character must be one character");
  }
  return Value(pad(*self.text(), static_cast<size_t>(std::max<int64_t>(width, 0)),
                   fill ? fill->bytes() : " ", kSide));
}

Result<Value> zfill(Interpreter&, const Value& self, Arguments& arguments) {
  COHORT_TRY(const int64_t width, integer_argument(arguments, 0, 0));
  if (width > kMaxPadding)
    return fail(Code::kTooLarge, "padding to {}; the limit is {}", width, kMaxPadding);
  const Text& text = *self.text();
  const bool has_sign = text.bytes().starts_with('-') || text.bytes().starts_with('+');
  Text out = text.slice(0, has_sign ? 1 : 0);
  const int64_t rest = width - static_cast<int64_t>(out.size());
  out.append(pad(text.slice(out.size(), text.size()),
                 static_cast<size_t>(std::max<int64_t>(rest, 0)), "0", Side::kLeft));
  return Value(std::move(out));
}

Result<Value> join_method(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  COHORT_TRY(const ListPtr items, iterate(arguments.positional[0]));
  Text out;
  for (size_t i = 0; i < items->items.size(); ++i) {
    const Text* item = items->items[i].text();
    if (!item) {
      return fail(Code::kInvalidArgument, "join(): item {} is a '{}', not a string", i,
                  type_name(items->items[i]));
    }
    if (i > 0) out.append(*self.text());
    out.append(*item);
    COHORT_TRY_VOID(interpreter.charge_bytes(self.text()->size() + item->size()));
  }
  return Value(std::move(out));
}

Result<Value> format_method(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  COHORT_TRY(Text text, format_braces(*self.text(), arguments, interpreter.work()));
  return Value(std::move(text));
}

// True when there are characters and all are such.
template <bool (*kHolds)(char32_t)>
Result<Value> all_are(Interpreter&, const Value& self, Arguments&) {
  const std::string& text = self.text()->bytes();
  for (size_t at = 0; at < text.size();) {
    const auto [c, size] = decode_at(text, at);
    if (!kHolds(c)) return Value(false);
    at += size;
  }
  return Value(!text.empty());
}
bool is_digit(char32_t c) { return c >= '0' && c <= '9'; }
bool is_alphanumeric(char32_t c) { return is_letter(c) || is_digit(c); }

Result<Value> is_ascii(Interpreter&, const Value& self, Arguments&) {
  const std::string& text = self.text()->bytes();
  return Value(std::all_of(text.begin(), text.end(),
                           [](char c) { return static_cast<unsigned char>(c) < 0x80; }));
}

template <Case kWanted>
Result<Value> is_cased(Interpreter&, const Value& self, Arguments&) {
  const Text& text = *self.text();
  const bool has_letters = change_case(text, Case::kSwap).bytes() != text.bytes();
  return Value(has_letters && change_case(text, kWanted).bytes() == text.bytes());
}

Result<Value> list_index(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  const auto& items = self.list()->items;
  const auto found = std::find_if(items.begin(), items.end(), [&](const Value& item) {
    return equals(item, arguments.positional[0], interpreter.work());
  });
  if (found == items.end()) return fail(Code::kInvalidArgument, "the value is not in the list");
  return Value(static_cast<int64_t>(found - items.begin()));
}

Result<Value> list_count(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  const auto& items = self.list()->items;
  return Value(
      static_cast<int64_t>(std::count_if(items.begin(), items.end(), [&](const Value& item) {
        return equals(item, arguments.positional[0], interpreter.work());
      })));
}

Result<Value> refuse_change(Interpreter&, const Value& self, Arguments&) {
  return fail(Code::kInvalidArgument, "a {} cannot be changed in a chat template", type_name(self));
}

Result<Value> itself(Interpreter&, const Value& self, Arguments&) { return self; }

Result<Value> dict_get(Interpreter&, const Value& self, Arguments& arguments) {
  if (const Value* found = self.dict()->find(arguments.positional[0])) return *found;
  return arguments.positional[1].is_undefined() ? Value(None{}) : arguments.positional[1];
}

Result<Value> dict_items(Interpreter&, const Value& self, Arguments&) {
  std::vector<Value> pairs;
  for (const auto& [key, value] : self.dict()->entries)
    pairs.push_back(make_list({key, value}, List::kTuple));
  return make_list(std::move(pairs));
}

Result<Value> dict_keys(Interpreter&, const Value& self, Arguments&) {
  COHORT_TRY(const ListPtr keys, iterate(self));
  return make_list(keys->items);
}

Result<Value> dict_values(Interpreter&, const Value& self, Arguments&) {
  std::vector<Value> values;
  for (const auto& entry : self.dict()->entries) values.push_back(entry.second);
  return make_list(std::move(values));
}

Result<Value> loop_cycle(Interpreter&, const Value& self, Arguments& arguments) {
  if (arguments.positional.empty()) return fail(Code::kInvalidArgument, "loop.cycle() of nothing");
  return arguments.positional[self.loop()->index % arguments.positional.size()];
}

Result<Value> loop_changed(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  Value now = make_list(std::move(arguments.positional), List::kTuple);
  std::optional<Value>& before = self.loop()->changed;
  const bool changed = !before || !equals(*before, now, interpreter.work());
  before = std::move(now);
  return Value(changed);
}

constexpr Native kTextMethods[] = {
    {"strip", "chars?", stripped<Side::kBoth>},
    {"lstrip", "chars?", stripped<Side::kLeft>},
    {"rstrip", "chars?", stripped<Side::kRight>},
    {"split", "sep? maxsplit?", split_text<Side::kLeft>},
    {"rsplit", "sep? maxsplit?", split_text<Side::kRight>},
    {"splitlines", "keepends?", splitlines},
    {"partition", "sep", partition<Side::kLeft>},
    {"rpartition", "sep", partition<Side::kRight>},
    {"startswith", "prefix start? end?", starts_or_ends<false>},
    {"endswith", "suffix start? end?", starts_or_ends<true>},
    {"find", "sub start? end?", find<Side::kLeft>},
    {"rfind", "sub start? end?", find<Side::kRight>},
    {"index", "sub start? end?", index<Side::kLeft>},
    {"rindex", "sub start? end?", index<Side::kRight>},
    {"count", "sub start? end?", count},
    {"replace", "old new count?", replace_method},
    {"removeprefix", "prefix", remove_prefix},
    {"removesuffix", "suffix", remove_suffix},
    {"upper", "", cased<Case::kUpper>},
    {"lower", "", cased<Case::kLower>},
    {"casefold", "", cased<Case::kLower>},
    {"capitalize", "", cased<Case::kCapitalize>},
    {"title", "", cased<Case::kTitle>},
    {"swapcase", "", cased<Case::kSwap>},
    {"ljust", "width fillchar?", justify<Side::kRight>},
    {"rjust", "width fillchar?", justify<Side::kLeft>},
    {"center", "width fillchar?", justify<Side::kBoth>},
    {"zfill", "width", zfill},
    {"join", "iterable", join_method},
    {"format", "*", format_method},
    {"isalpha", "", all_are<is_letter>},
    {"isalnum", "", all_are<is_alphanumeric>},
    {"isdigit", "", all_are<is_digit>},
    {"isdecimal", "", all_are<is_digit>},
    {"isnumeric", "", all_are<is_digit>},
    {"isspace", "", all_are<is_space>},
    {"isascii", "", is_ascii},
    {"isupper", "", is_cased<Case::kUpper>},
    {"islower", "", is_cased<Case::kLower>},
    {"istitle", "", is_cased<Case::kTitle>},
};

constexpr Native kListMethods[] = {
    {"index", "value", list_index}, {"count", "value", list_count},  {"copy", "", itself},
    {"append", "*", refuse_change}, {"extend", "*", refuse_change},  {"insert", "*", refuse_change},
    {"pop", "*", refuse_change},    {"remove", "*", refuse_change},  {"clear", "*", refuse_change},
    {"sort", "*", refuse_change},   {"reverse", "*", refuse_change},
};

constexpr Native kDictMethods[] = {
    {"get", "key default?", dict_get},
    {"items", "", dict_items},
    {"keys", "", dict_keys},
    {"values", "", dict_values},
    {"copy", "", itself},
    {"update", "*", refuse_change},
    {"setdefault", "*", refuse_change},
    {"popitem", "*", refuse_change},
    {"pop", "*", refuse_change},
    {"clear", "*", refuse_change},
};

constexpr Native kLoopMethods[] = {
    {"cycle", "*", loop_cycle},
    {"changed", "*", loop_changed},
};

std::span<const Native> methods_of(const Value& object) {
  if (object.text()) return kTextMethods;
  if (object.list()) return kListMethods;
  if (object.dict()) return kDictMethods;
  if (object.loop()) return kLoopMethods;
  return {};
}

}  // namespace

const Native* find_method(const Value& object, std::string_view name) {
  const auto table = methods_of(object);
  const auto found =
      std::find_if(table.begin(), table.end(), [&](const Native& row) { return row.name == name; });
  return found == table.end() ? nullptr : &*found;
}

}  // namespace cohort::text::jinja
