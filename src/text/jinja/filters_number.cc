#include <charconv>
#include <cmath>
#include <cstdlib>

#include "text/jinja/arguments.h"
#include "text/jinja/filters.h"
#include "text/jinja/text_functions.h"

namespace cohort::text::jinja {
namespace {

std::string without_spaces(const Text& text) {
  std::string digits = strip(text, std::nullopt, Side::kBoth).bytes();
  std::erase(digits, '_');
  return digits;
}

std::optional<double> parse_float(const Text& text) {
  const std::string digits = without_spaces(text);
  if (digits.empty() || digits.find_first_of("xXpP") != digits.npos) return std::nullopt;
  char* end = nullptr;
  const double value = std::strtod(digits.c_str(), &end);
  return *end == '\0' ? std::optional(value) : std::nullopt;
}

std::optional<int64_t> parse_integer(const Text& text, int base) {
  const std::string digits = without_spaces(text);
  const char* begin = digits.data() + (digits.starts_with('+') ? 1 : 0);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(begin, digits.data() + digits.size(), value, base);
  const bool whole =
      error == std::errc() && end == digits.data() + digits.size() && !digits.empty();
  return whole ? std::optional(value) : std::nullopt;
}

std::optional<int64_t> truncated(double value) {
  if (!(std::abs(value) < 0x1p63)) return std::nullopt;
  return static_cast<int64_t>(value);
}

tl::unexpected<Error> fail_undefined(const Undefined& value) {
  return fail(Code::kInvalidArgument, "'{}' is undefined", value.name ? *value.name : "a value");
}

Result<Value> to_int(Interpreter&, const Value& self, Arguments& arguments) {
  COHORT_TRY(const int64_t base, integer_argument(arguments, 1, 10));
  if (base < 2 || base > 36) return fail(Code::kInvalidArgument, "int() with base {}", base);
  if (const Undefined* undefined = self.as<Undefined>()) return fail_undefined(*undefined);
  const Value absent =
      arguments.positional[0].is_undefined() ? Value(int64_t{0}) : arguments.positional[0];
  if (const auto integer = self.integer()) return Value(*integer);
  std::optional<int64_t> value;
  if (const Text* text = self.text()) {
    value = parse_integer(*text, static_cast<int>(base));
    if (const auto number = value ? std::nullopt : parse_float(*text)) value = truncated(*number);
  } else if (const auto number = self.number()) {
    value = truncated(*number);
  }
  return value ? Value(*value) : absent;
}

Result<Value> to_float(Interpreter&, const Value& self, Arguments& arguments) {
  if (const Undefined* undefined = self.as<Undefined>()) return fail_undefined(*undefined);
  const Value absent =
      arguments.positional[0].is_undefined() ? Value(0.0) : arguments.positional[0];
  std::optional<double> value = self.number();
  if (const Text* text = self.text()) value = parse_float(*text);
  return value ? Value(*value) : absent;
}

// Halves go to the even neighbour, as in Python.
Result<Value> round_number(Interpreter&, const Value& self, Arguments& arguments) {
  const auto number = self.number();
  if (!number) return fail(Code::kInvalidArgument, "round() of '{}'", type_name(self));
  COHORT_TRY(const int64_t precision, integer_argument(arguments, 0, 0));
  if (std::abs(precision) > 300)
    return fail(Code::kInvalidArgument, "round() to {} digits", precision);
  const Text* method = arguments.positional[1].text();
  const std::string_view how = method ? std::string_view(method->bytes()) : "common";
  const double scale = std::pow(10.0, static_cast<double>(precision));
  if (how == "ceil") return Value(std::ceil(*number * scale) / scale);
  if (how == "floor") return Value(std::floor(*number * scale) / scale);
  if (how != "common") return fail(Code::kInvalidArgument, "method must be common, ceil or floor");
  if (const auto integer = self.integer()) {
    if (precision >= 0) return Value(*integer);
    return Value(static_cast<int64_t>(std::nearbyint(*number * scale) / scale));
  }
  if (precision <= 0) return Value(std::nearbyint(*number * scale) / scale);
  char buffer[700];  // correctly rounded decimal digits, as Python's round
  std::snprintf(buffer, sizeof(buffer), "%.*f", static_cast<int>(precision), *number);
  return Value(std::strtod(buffer, nullptr));
}

Result<Value> absolute(Interpreter&, const Value& self, Arguments&) {
  if (const auto integer = self.integer()) {
    if (*integer == INT64_MIN) return fail(Code::kInvalidArgument, "abs() leaves 64 bits");
    return Value(std::abs(*integer));
  }
  if (const auto number = self.number()) return Value(std::abs(*number));
  return fail(Code::kInvalidArgument, "abs() of '{}'", type_name(self));
}

constexpr Native kFilters[] = {
    {"int", "default? base?", to_int},
    {"float", "default?", to_float},
    {"round", "precision? method?", round_number},
    {"abs", "", absolute},
};

}  // namespace

std::span<const Native> number_filters() { return kFilters; }

}  // namespace cohort::text::jinja
