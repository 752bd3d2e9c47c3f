// Global functions of templates, behind find_global.
#include <algorithm>
#include <ctime>

#include "text/jinja/arguments.h"
#include "text/jinja/builtins.h"
#include "text/jinja/format.h"
#include "text/jinja/interpreter.h"

namespace cohort::text::jinja {
namespace {

constexpr uint64_t kMaxRange = 100'000;  // as Jinja's sandbox
constexpr size_t kMaxDateFormat = 256;

Result<Value> range(Interpreter&, const Value&, Arguments& arguments) {
  const bool only_stop = arguments.positional[1].is_undefined();
  COHORT_TRY(const int64_t start,
             only_stop ? Result<int64_t>(0) : integer_argument(arguments, 0, 0));
  COHORT_TRY(const int64_t stop, integer_argument(arguments, only_stop ? 0 : 1, 0));
  COHORT_TRY(const int64_t step, integer_argument(arguments, 2, 1));
  if (step == 0) return fail(Code::kInvalidArgument, "range() with a step of zero");
  const bool empty = step > 0 ? start >= stop : start <= stop;
  const uint64_t low = static_cast<uint64_t>(step > 0 ? start : stop);
  const uint64_t distance = static_cast<uint64_t>(step > 0 ? stop : start) - low;
  const uint64_t stride = step > 0 ? static_cast<uint64_t>(step) : 0 - static_cast<uint64_t>(step);
  const uint64_t count = empty ? 0 : (distance - 1) / stride + 1;
  if (count > kMaxRange)
    return fail(Code::kTooLarge, "range() of {} numbers; the limit is {}", count, kMaxRange);
  std::vector<Value> numbers;
  numbers.reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    numbers.emplace_back(
        static_cast<int64_t>(static_cast<uint64_t>(start) + i * static_cast<uint64_t>(step)));
  }
  return make_list(std::move(numbers));
}

// Entries of an optional dict in front, then the named arguments.
Result<std::vector<std::pair<Value, Value>>> entries_of(Arguments& arguments) {
  std::vector<std::pair<Value, Value>> entries;
  if (arguments.positional.size() > 1)
    return fail(Code::kInvalidArgument, "expected at most one dict");
  if (!arguments.positional.empty()) {
    const Dict* dict = arguments.positional[0].dict();
    if (!dict)
      return fail(Code::kInvalidArgument, "expected a dict, got '{}'",
                  type_name(arguments.positional[0]));
    entries = dict->entries;
  }
  for (auto& [name, value] : arguments.named)
    entries.emplace_back(text_value(name), std::move(value));
  return entries;
}

Result<Value> make_dictionary(Interpreter&, const Value&, Arguments& arguments) {
  COHORT_TRY(auto entries, entries_of(arguments));
  return make_dict(std::move(entries));
}

Result<Value> name_space(Interpreter& interpreter, const Value&, Arguments& arguments) {
  COHORT_TRY(auto entries, entries_of(arguments));
  std::vector<std::pair<const std::string*, Value>> attributes;
  const Value unique = make_dict(std::move(entries));
  for (const auto& [key, value] : unique.dict()->entries) {
    attributes.emplace_back(interpreter.own_name(to_text(key).bytes()), value);
  }
  COHORT_TRY_VOID(interpreter.charge(8 + attributes.size()));
  return interpreter.make_namespace(std::move(attributes));
}

Result<Value> raise_exception(Interpreter& interpreter, const Value&, Arguments& arguments) {
  return interpreter.raise(to_text(arguments.positional[0]).bytes());
}

// In local time, as transformers does.
Result<Value> strftime_now(Interpreter& interpreter, const Value&, Arguments& arguments) {
  COHORT_TRY(const Text* format, text_argument(arguments, 0));
  if (format->size() > kMaxDateFormat) {
    return fail(Code::kTooLarge, "a date format of {} bytes; the limit is {}", format->size(),
                kMaxDateFormat);
  }
  const std::time_t now = static_cast<std::time_t>(interpreter.now_unix_seconds());
  std::tm local{};
  if (!localtime_r(&now, &local)) return fail(Code::kInvalidArgument, "no such date");
  char buffer[16 * kMaxDateFormat];
  const size_t size = std::strftime(buffer, sizeof(buffer), format->bytes().c_str(), &local);
  return Value(Text(std::string(buffer, size), format->all_trusted()));
}

// Gives "" the first time it is called, its separator ever after.
Result<Value> joiner(Interpreter&, const Value&, Arguments& arguments) {
  const Value separator =
      arguments.positional[0].is_undefined() ? text_value(", ") : arguments.positional[0];
  const auto used = std::make_shared<bool>(false);
  return Value(Callable{"joiner", [separator, used](Interpreter&, Arguments) -> Result<Value> {
                          return std::exchange(*used, true) ? separator : text_value("");
                        }});
}

constexpr Native kGlobals[] = {
    {"range", "start stop? step?", range},    {"dict", "*", make_dictionary},
    {"namespace", "*", name_space},           {"raise_exception", "message", raise_exception},
    {"strftime_now", "format", strftime_now}, {"joiner", "sep?", joiner},
};

}  // namespace

const Native* find_global(std::string_view name) {
  const auto* found = std::find_if(std::begin(kGlobals), std::end(kGlobals),
                                   [&](const Native& row) { return row.name == name; });
  return found == std::end(kGlobals) ? nullptr : found;
}

}  // namespace cohort::text::jinja
