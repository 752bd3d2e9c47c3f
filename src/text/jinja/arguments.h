// Reading bound arguments of native functions. An absent argument is undefined.
#pragma once

#include "base/result.h"
#include "text/jinja/builtins.h"
#include "text/jinja/value.h"

namespace cohort::text::jinja {

Result<const Text*> text_argument(const Arguments& arguments, size_t index);
Result<int64_t> integer_argument(const Arguments& arguments, size_t index, int64_t absent);
bool flag_argument(const Arguments& arguments, size_t index, bool absent);
// Of arguments given as "*": the named one, taken out; undefined when it was not given.
Value take_named(Arguments& arguments, std::string_view name);

}  // namespace cohort::text::jinja
