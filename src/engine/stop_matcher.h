// Ends a stream of text at the first of several stop strings. Text that may turn out to be the beginning of one is held
// back until it is certain, so that no part of a stop string is ever sent, however the tokens cut it.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cohort::engine {

// Costs a step per byte and stop string, whatever the strings.
class StopMatcher {
 public:
  explicit StopMatcher(std::span<const std::string> stops);  // empty strings are ignored

  // The text that may be sent now. After a match: all before the stop string, and stopped() is true; then push no more.
  std::string push(std::string_view text);
  std::string finish();  // what was held back, when the stream ends without a match
  bool stopped() const { return stopped_; }

 private:
  struct Pattern {  // Knuth, Morris, Pratt
    std::string text;
    std::vector<size_t>
        fallback;        // [n]: length of the longest proper prefix of text that ends text[0, n)
    size_t matched = 0;  // bytes of `text` that the stream ends with
  };
  static void advance(Pattern& pattern, char byte);
  size_t held_bytes() const;  // at the end of held_ that begin, or are, a stop string

  std::vector<Pattern> patterns_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace cohort::engine
