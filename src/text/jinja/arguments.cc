#include "text/jinja/arguments.h"

#include <algorithm>

namespace cohort::text::jinja {
namespace {

struct Parameter {
  std::string_view name;
  bool optional;
};

std::vector<Parameter> split_parameters(std::string_view text) {
  std::vector<Parameter> parameters;
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    std::string_view name = text.substr(0, end);
    const bool optional = name.ends_with('?');
    if (optional) name.remove_suffix(1);
    parameters.push_back({name, optional});
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parameters;
}

}  // namespace

Result<void> bind_arguments(const Native& native, Arguments& arguments) {
  if (native.parameters == "*") return {};
  const std::vector<Parameter> parameters = split_parameters(native.parameters);
  const size_t given = arguments.positional.size();
  if (given > parameters.size()) {
    return fail(Code::kInvalidArgument, "{}() takes at most {} arguments, got {}", native.name,
                parameters.size(), given);
  }
  arguments.positional.resize(parameters.size());
  std::vector<bool> set(parameters.size(), false);
  std::fill_n(set.begin(), given, true);
  for (auto& [name, value] : arguments.named) {
    const auto found =
        std::find_if(parameters.begin(), parameters.end(),
                     [&](const Parameter& parameter) { return parameter.name == name; });
    const size_t index = static_cast<size_t>(found - parameters.begin());
    if (found == parameters.end()) {
      return fail(Code::kInvalidArgument, "{}() has no parameter '{}'", native.name, name);
    }
    if (set[index]) return fail(Code::kInvalidArgument, "{}() got '{}' twice", native.name, name);
    set[index] = true;
    arguments.positional[index] = std::move(value);
  }
  arguments.named.clear();
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (set[i] || parameters[i].optional) continue;
    return fail(Code::kInvalidArgument, "{}() lacks its argument '{}'", native.name,
                parameters[i].name);
  }
  return {};
}

Result<const Text*> text_argument(const Arguments& arguments, size_t index) {
  const Value& value = arguments.positional[index];
  if (const Text* text = value.text()) return text;
  return fail(Code::kInvalidArgument, "expected a string, got '{}'", type_name(value));
}

Result<int64_t> integer_argument(const Arguments& arguments, size_t index, int64_t absent) {
  const Value& value = arguments.positional[index];
  if (value.is_undefined() || value.is_none()) return absent;
  if (const auto integer = value.integer()) return *integer;
  return fail(Code::kInvalidArgument, "expected an integer, got '{}'", type_name(value));
}

bool flag_argument(const Arguments& arguments, size_t index, bool absent) {
  const Value& value = arguments.positional[index];
  return value.is_undefined() ? absent : is_true(value);
}

Value take_named(Arguments& arguments, std::string_view name) {
  const auto found = std::find_if(arguments.named.begin(), arguments.named.end(),
                                  [&](const auto& argument) { return argument.first == name; });
  if (found == arguments.named.end()) return Value();
  Value value = std::move(found->second);
  arguments.named.erase(found);
  return value;
}

}  // namespace cohort::text::jinja
