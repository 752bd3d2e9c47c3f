// Patterns in tokenizer.json are written for Oniguruma; here they become PCRE2's.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace cohort::text {

// What differs: \s is Unicode's White_Space exactly (PCRE2 adds U+180E), \w has marks and connectors, \h is a hexadecimal
// digit, and character classes nest and intersect: [\p{L}&&[^\p{Han}]]. kDataLoss when brackets do not match.
Result<std::string> to_pcre2_syntax(std::string_view pattern);

}  // namespace cohort::text
