#include "engine/stop_matcher.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace cohort::engine {

StopMatcher::StopMatcher(std::span<const std::string> stops) {
  for (const std::string& stop : stops) {
    if (stop.empty()) continue;
    Pattern pattern{stop, std::vector<size_t>(stop.size() + 1, 0), 0};
    for (size_t n = 1; n < stop.size(); ++n) {
      advance(pattern, stop[n]);
      pattern.fallback[n + 1] = pattern.matched;
    }
    pattern.matched = 0;
    patterns_.push_back(std::move(pattern));
  }
}

void StopMatcher::advance(Pattern& pattern, char byte) {
  size_t& matched = pattern.matched;
  while (matched > 0 && pattern.text[matched] != byte) matched = pattern.fallback[matched];
  if (pattern.text[matched] == byte) ++matched;
}

size_t StopMatcher::held_bytes() const {
  size_t held = 0;
  for (const Pattern& pattern : patterns_) {
    if (stopped_ && pattern.matched < pattern.text.size())
      continue;  // of the matches, the one that began first
    held = std::max(held, pattern.matched);
  }
  return held;
}

std::string StopMatcher::push(std::string_view text) {
  COHORT_CHECK(!stopped_);
  if (patterns_.empty()) return std::string(text);
  for (const char byte : text) {
    held_ += byte;
    for (Pattern& pattern : patterns_) {
      advance(pattern, byte);
      if (pattern.matched == pattern.text.size()) stopped_ = true;
    }
    if (stopped_) break;
  }
  const size_t sure_bytes = held_.size() - held_bytes();
  std::string sure = held_.substr(0, sure_bytes);
  held_.erase(0, stopped_ ? held_.size() : sure_bytes);
  return sure;
}

std::string StopMatcher::finish() { return std::exchange(held_, {}); }

}  // namespace cohort::engine
