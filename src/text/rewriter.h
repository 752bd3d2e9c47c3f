// Rewrites text from front to back and keeps track of which stretches of it are trusted.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace cohort::text {

struct Range {
  size_t begin = 0;
  size_t end = 0;
  size_t size() const { return end - begin; }
  bool operator==(const Range&) const = default;
};

// `trusted` is ascending and disjoint.
struct MarkedText {
  std::string text;
  std::vector<Range> trusted;
};

MarkedText slice(const MarkedText& text, Range range);

// What is replaced is trusted afterwards only when all of it was before.
class Rewriter {
 public:
  explicit Rewriter(const MarkedText& from) : from_(from) { to_.text.reserve(from.text.size()); }

  size_t position() const { return position_; }  // in `from`
  void keep(size_t size_bytes);
  void replace(size_t size_bytes, std::string_view with);
  void keep_rest() { keep(from_.text.size() - position_); }
  // All of `from` must have been kept or replaced.
  MarkedText finish() &&;

 private:
  // Boundary 2i is where trusted range i begins, 2i+1 where it ends.
  size_t boundary(size_t index) const;
  void put_boundary(size_t at);

  const MarkedText& from_;
  MarkedText to_;
  size_t position_ = 0;
  size_t next_boundary_ = 0;
};

}  // namespace cohort::text
