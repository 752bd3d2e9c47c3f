// Python's two ways of filling a format string.
#pragma once

#include "base/result.h"
#include "text/jinja/value.h"

namespace cohort::text::jinja {

// Both stop early when `work` is exhausted; the result is void then.

// format % values: %s %r %d %i %f %e %g %x %X %o %c %% with flags, width and precision; %(name)s from a dict.
Result<Text> format_percent(const Text& format, const Value& values, Work& work);
// format.format(...): {} {0} {name} with !r, !s and [[fill]align][0][width][.precision][type].
Result<Text> format_braces(const Text& format, const Arguments& arguments, Work& work);

}  // namespace cohort::text::jinja
