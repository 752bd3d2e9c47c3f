// Filters, tests, methods and global functions: tables of native functions.
#pragma once

#include <string_view>

#include "base/result.h"
#include "text/jinja/value.h"

namespace cohort::text::jinja {

// `self` is what a filter or test is applied to, or the object of a method; undefined for global functions.
// `arguments` is bound as `parameters` says.
using NativeFunction = Result<Value> (*)(Interpreter& interpreter, const Value& self,
                                         Arguments& arguments);

struct Native {
  std::string_view name;
  // Names separated by spaces, optional ones marked by '?'. The function then gets one positional argument a name, absent
  // ones undefined. "*": arguments come as they were given.
  std::string_view parameters;
  NativeFunction function;
};

const Native* find_filter(std::string_view name);  // null when there is none
const Native* find_test(std::string_view name);
// A method of strings, lists and dicts as Python has it.
const Native* find_method(const Value& object, std::string_view name);
const Native* find_global(std::string_view name);

// Lays out `arguments` as native.parameters says; kInvalidArgument names what is missing or too much.
Result<void> bind_arguments(const Native& native, Arguments& arguments);

}  // namespace cohort::text::jinja
