#include "text/pattern.h"

#include "base/json.h"

namespace cohort::text {

Result<Pattern> Pattern::parse(const Json& config) {
  Pattern pattern;
  if (!config.is_object() || config.size() != 1 || !config.front().is_string()) {
    return fail(Code::kDataLoss, "pattern: expected {{\"String\": text}} or {{\"Regex\": text}}");
  }
  const std::string& text = config.front().get_ref<const std::string&>();
  if (config.contains("String")) {
    pattern.literal = text;
  } else if (config.contains("Regex")) {
    COHORT_TRY(pattern.regex, Regex::compile(text));
  } else {
    return fail(Code::kUnsupported, "pattern: unknown kind '{}'", config.begin().key());
  }
  return pattern;
}

PatternSearch::PatternSearch(const Pattern& pattern) : pattern_(pattern) {
  if (pattern.regex) search_.emplace(*pattern.regex);
}

std::optional<Range> PatternSearch::next(std::string_view subject, size_t from) {
  if (search_) return search_->next(subject, from);
  if (pattern_.literal.empty()) return std::nullopt;
  const size_t found = subject.find(pattern_.literal, from);
  if (found == std::string_view::npos) return std::nullopt;
  return Range{found, found + pattern_.literal.size()};
}

}  // namespace cohort::text
