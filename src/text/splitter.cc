#include "text/splitter.h"

namespace cohort::text {
namespace {

void split_contiguous(const std::vector<Segment>& segments, std::vector<Range>& words) {
  bool previous = false;
  bool any = false;
  for (const Segment& segment : segments) {
    if (any && segment.is_match == previous) {
      words.back().end = segment.range.end;
    } else {
      words.push_back(segment.range);
    }
    previous = segment.is_match;
    any = true;
  }
}

// Of several matches in a row, only the first joins what is before it.
void merge_with_previous(const std::vector<Segment>& segments, std::vector<Range>& words) {
  bool previous = false;
  bool any = false;
  for (const Segment& segment : segments) {
    if (any && segment.is_match && !previous) {
      words.back().end = segment.range.end;
    } else {
      words.push_back(segment.range);
    }
    previous = segment.is_match;
    any = true;
  }
}

// Of several matches in a row, only the last joins what is after it.
void merge_with_next(const std::vector<Segment>& segments, std::vector<Range>& words) {
  for (size_t i = 0; i < segments.size(); ++i) {
    const bool joins = segments[i].is_match && i + 1 < segments.size() && !segments[i + 1].is_match;
    if (joins) {
      words.push_back({segments[i].range.begin, segments[i + 1].range.end});
      ++i;
    } else {
      words.push_back(segments[i].range);
    }
  }
}

}  // namespace

Result<SplitBehavior> parse_split_behavior(std::string_view name) {
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  return fail(Code::kUnsupported, "split behavior '{}' is not known", name);
}

void apply_split(SplitBehavior behavior, const std::vector<Segment>& segments,
                 std::vector<Range>& words) {
  switch (behavior) {
    case SplitBehavior::kIsolated:
      for (const Segment& segment : segments) words.push_back(segment.range);
      return;
    case SplitBehavior::kRemoved:
      for (const Segment& segment : segments) {
        if (!segment.is_match) words.push_back(segment.range);
      }
      return;
    case SplitBehavior::kContiguous: return split_contiguous(segments, words);
    case SplitBehavior::kMergedWithPrevious: return merge_with_previous(segments, words);
    case SplitBehavior::kMergedWithNext: return merge_with_next(segments, words);
  }
}

}  // namespace cohort::text
