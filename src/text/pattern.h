// What Replace and Split look for: a plain string or a regular expression.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "text/regex.h"

namespace cohort::text {

struct Pattern {
  std::string literal;  // when there is no regex; empty matches nothing
  std::optional<Regex> regex;

  // {"String": "..."} or {"Regex": "..."}.
  static Result<Pattern> parse(const nlohmann::ordered_json& config);
};

// Matches from front to back, none empty. One thread; the pattern must outlive it.
class PatternSearch {
 public:
  explicit PatternSearch(const Pattern& pattern);
  std::optional<Range> next(std::string_view subject, size_t from);

 private:
  const Pattern& pattern_;
  std::optional<RegexSearch> search_;
};

}  // namespace cohort::text
