// Cuts words at matches, in the five ways that tokenizer.json knows.
#pragma once

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "text/pre_tokenizer.h"
#include "text/rewriter.h"

namespace cohort::text {

enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

Result<SplitBehavior> parse_split_behavior(std::string_view name);

// A part of a word: a match, or what is between matches.
struct Segment {
  Range range;
  bool is_match;
};

// The words that a word's segments become.
void apply_split(SplitBehavior behavior, const std::vector<Segment>& segments,
                 std::vector<Range>& words);

struct SplitOptions {
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;  // what is between matches counts as the match
};

// `find(subject, from)` gives the first match that is not empty, at or after `from`, as std::optional<Range>.
template <class Find>
void split_words(Words& words, SplitOptions options, Find&& find) {
  std::vector<Range> out;
  out.reserve(std::max(words.ranges.size(), words.text.size() / 4));
  std::vector<Segment> segments;
  for (const Range& word : words.ranges) {
    const auto subject = std::string_view(words.text).substr(word.begin, word.size());
    const auto add = [&](size_t begin, size_t end, bool is_match) {
      if (begin == end) return;
      segments.push_back({{word.begin + begin, word.begin + end}, is_match != options.invert});
    };
    segments.clear();
    size_t at = 0;
    while (const std::optional<Range> match = find(subject, at)) {
      add(at, match->begin, false);
      add(match->begin, match->end, true);
      at = match->end;
    }
    add(at, subject.size(), false);
    apply_split(options.behavior, segments, out);
  }
  words.ranges = std::move(out);
}

}  // namespace cohort::text
