#pragma once

#include <memory>
#include <string_view>

#include "base/result.h"
#include "text/jinja/ast.h"

namespace cohort::text::jinja {

inline constexpr int kMaxParseDepth = 100;  // nested brackets and blocks

// kInvalidArgument gives line and column of the first error.
Result<std::unique_ptr<const Template>> parse(std::string_view source);

}  // namespace cohort::text::jinja
