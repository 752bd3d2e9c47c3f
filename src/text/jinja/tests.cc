// Jinja's tests ("x is defined"), behind find_test.
#include <algorithm>
#include <cmath>

#include "text/jinja/arguments.h"
#include "text/jinja/builtins.h"
#include "text/jinja/filters.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/operators.h"
#include "text/jinja/text_functions.h"

namespace cohort::text::jinja {
namespace {

template <bool (*kHolds)(const Value&)>
Result<Value> simple(Interpreter&, const Value& self, Arguments&) {
  return Value(kHolds(self));
}

bool is_defined(const Value& value) { return !value.is_undefined(); }
bool is_undefined(const Value& value) { return value.is_undefined(); }
bool is_none(const Value& value) { return value.is_none(); }
bool is_boolean(const Value& value) { return value.as<bool>() != nullptr; }
bool is_true_itself(const Value& value) { return value.as<bool>() && *value.as<bool>(); }
bool is_false_itself(const Value& value) { return value.as<bool>() && !*value.as<bool>(); }
bool is_integer(const Value& value) { return value.as<int64_t>() != nullptr; }
bool is_float(const Value& value) { return value.as<double>() != nullptr; }
bool is_number(const Value& value) { return value.number().has_value(); }
bool is_string(const Value& value) { return value.text() != nullptr; }
bool is_mapping(const Value& value) { return value.dict() != nullptr; }
bool is_iterable(const Value& value) {
  return value.text() || value.list() || value.dict() || value.is_undefined();
}
bool is_callable(const Value& value) { return value.callable() != nullptr; }
bool never(const Value&) { return false; }

template <Case kWanted>
Result<Value> has_only(Interpreter& interpreter, const Value& self, Arguments&) {
  const Text* text = self.text();
  if (!text) return Value(false);
  COHORT_TRY_VOID(interpreter.charge_bytes(text->size()));
  return Value(change_case(*text, kWanted).bytes() == text->bytes() &&
               change_case(*text, Case::kSwap).bytes() != text->bytes());
}

Result<Value> divisible(Interpreter& interpreter, const Value& self, const Value& by) {
  if (!self.number())
    return fail(Code::kInvalidArgument, "expected a number, got '{}'", type_name(self));
  COHORT_TRY(const Value remainder, apply_binary(Operator::kModulo, self, by, interpreter.work()));
  return Value(!is_true(remainder));
}

Result<Value> even(Interpreter& interpreter, const Value& self, Arguments&) {
  return divisible(interpreter, self, Value(int64_t{2}));
}
Result<Value> odd(Interpreter& interpreter, const Value& self, Arguments&) {
  COHORT_TRY(const Value is_even, divisible(interpreter, self, Value(int64_t{2})));
  return Value(!is_true(is_even));
}
Result<Value> divisible_by(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  return divisible(interpreter, self, arguments.positional[0]);
}

Result<Value> equal_to(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  return Value(equals(self, arguments.positional[0], interpreter.work()));
}
Result<Value> not_equal_to(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  return Value(!equals(self, arguments.positional[0], interpreter.work()));
}

template <bool (*kHolds)(int)>
Result<Value> ordered(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  COHORT_TRY(const int order, compare(self, arguments.positional[0], interpreter.work()));
  return Value(kHolds(order));
}
bool less(int order) { return order < 0; }
bool less_equal(int order) { return order <= 0; }
bool greater(int order) { return order > 0; }
bool greater_equal(int order) { return order >= 0; }

Result<Value> is_in(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  COHORT_TRY(const bool found, contains(arguments.positional[0], self, interpreter.work()));
  return Value(found);
}

Result<Value> same_as(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  const Value& other = arguments.positional[0];
  return Value(type_name(self) == type_name(other) && equals(self, other, interpreter.work()));
}

template <const Native* (*kFind)(std::string_view)>
Result<Value> is_known(Interpreter&, const Value& self, Arguments&) {
  return Value(self.text() && kFind(self.text()->bytes()) != nullptr);
}

template <bool kAtEnd>
Result<Value> starting_or_ending(Interpreter&, const Value& self, Arguments& arguments) {
  COHORT_TRY(const Text* part, text_argument(arguments, 0));
  const Text* text = self.text();
  return Value(text && (kAtEnd ? text->bytes().ends_with(part->bytes())
                               : text->bytes().starts_with(part->bytes())));
}

constexpr Native kTests[] = {
    {"defined", "", simple<is_defined>},
    {"undefined", "", simple<is_undefined>},
    {"none", "", simple<is_none>},
    {"boolean", "", simple<is_boolean>},
    {"true", "", simple<is_true_itself>},
    {"false", "", simple<is_false_itself>},
    {"integer", "", simple<is_integer>},
    {"float", "", simple<is_float>},
    {"number", "", simple<is_number>},
    {"string", "", simple<is_string>},
    {"mapping", "", simple<is_mapping>},
    {"iterable", "", simple<is_iterable>},
    {"sequence", "", simple<is_iterable>},
    {"callable", "", simple<is_callable>},
    {"escaped", "", simple<never>},
    {"lower", "", has_only<Case::kLower>},
    {"upper", "", has_only<Case::kUpper>},
    {"even", "", even},
    {"odd", "", odd},
    {"divisibleby", "num", divisible_by},
    {"eq", "other", equal_to},
    {"==", "other", equal_to},
    {"equalto", "other", equal_to},
    {"ne", "other", not_equal_to},
    {"!=", "other", not_equal_to},
    {"lt", "other", ordered<less>},
    {"<", "other", ordered<less>},
    {"lessthan", "other", ordered<less>},
    {"le", "other", ordered<less_equal>},
    {"<=", "other", ordered<less_equal>},
    {"gt", "other", ordered<greater>},
    {">", "other", ordered<greater>},
    {"greaterthan", "other", ordered<greater>},
    {"ge", "other", ordered<greater_equal>},
    {">=", "other", ordered<greater_equal>},
    {"in", "seq", is_in},
    {"sameas", "other", same_as},
    {"filter", "", is_known<find_filter>},
    {"test", "", is_known<find_test>},
    {"startingwith", "prefix", starting_or_ending<false>},
    {"endingwith", "suffix", starting_or_ending<true>},
};

}  // namespace

const Native* find_test(std::string_view name) {
  const auto* found = std::find_if(std::begin(kTests), std::end(kTests),
                                   [&](const Native& row) { return row.name == name; });
  return found == std::end(kTests) ? nullptr : found;
}

}  // namespace cohort::text::jinja
