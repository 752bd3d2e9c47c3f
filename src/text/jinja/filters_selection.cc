#include "text/jinja/arguments.h"
#include "text/jinja/filters.h"
#include "text/jinja/interpreter.h"

namespace cohort::text::jinja {
namespace {

// The first positional argument, taken out; it must be a string.
Result<std::string> take_name(Arguments& arguments, std::string_view what) {
  if (arguments.positional.empty() || !arguments.positional[0].text()) {
    return fail(Code::kInvalidArgument, "expected the name of {}", what);
  }
  std::string name = arguments.positional[0].text()->bytes();
  arguments.positional.erase(arguments.positional.begin());
  return name;
}

Result<Value> map_attribute(const ListPtr& list, const Value& path, const Value& absent) {
  std::vector<Value> mapped;
  for (const Value& item : list->items) {
    COHORT_TRY(Value value, attribute_at(item, path, absent));
    mapped.push_back(std::move(value));
  }
  return make_list(std::move(mapped));
}

Result<Value> map(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  if (!is_true(self)) return make_list({});
  COHORT_TRY(const ListPtr list, iterate(self));
  const Value path = take_named(arguments, "attribute");
  if (!path.is_undefined()) return map_attribute(list, path, take_named(arguments, "default"));
  COHORT_TRY(const std::string name, take_name(arguments, "a filter"));
  std::vector<Value> mapped;
  for (const Value& item : list->items) {
    COHORT_TRY(Value value, interpreter.filter(name, item, arguments));
    mapped.push_back(std::move(value));
  }
  return make_list(std::move(mapped));
}

// Keeps what passes (or fails) the test; without a test, what is true. `path` undefined: the item itself is tested.
Result<Value> filtered(Interpreter& interpreter, const Value& self, const Value& path,
                       Arguments& arguments, bool keep_true) {
  if (!is_true(self)) return make_list({});
  COHORT_TRY(const ListPtr list, iterate(self));
  std::string test;
  if (!arguments.positional.empty()) {
    COHORT_TRY(test, take_name(arguments, "a test"));
  }
  std::vector<Value> kept;
  for (const Value& item : list->items) {
    COHORT_TRY(const Value subject,
               path.is_undefined() ? Result<Value>(item) : attribute_at(item, path));
    COHORT_TRY(const bool passes, test.empty() ? Result<bool>(is_true(subject))
                                               : interpreter.test(test, subject, arguments));
    if (passes == keep_true) kept.push_back(item);
  }
  return make_list(std::move(kept));
}

template <bool kKeepTrue>
Result<Value> select(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  return filtered(interpreter, self, Value(), arguments, kKeepTrue);
}

template <bool kKeepTrue>
Result<Value> select_by_attribute(Interpreter& interpreter, const Value& self,
                                  Arguments& arguments) {
  if (arguments.positional.empty())
    return fail(Code::kInvalidArgument, "expected the name of an attribute");
  const Value path = arguments.positional[0];
  arguments.positional.erase(arguments.positional.begin());
  return filtered(interpreter, self, path, arguments, kKeepTrue);
}

constexpr Native kFilters[] = {
    {"map", "*", map},
    {"select", "*", select<true>},
    {"reject", "*", select<false>},
    {"selectattr", "*", select_by_attribute<true>},
    {"rejectattr", "*", select_by_attribute<false>},
};

}  // namespace

std::span<const Native> selection_filters() { return kFilters; }

}  // namespace cohort::text::jinja
