#include "text/rewriter.h"

#include <algorithm>

#include "base/check.h"

namespace cohort::text {

MarkedText slice(const MarkedText& text, Range range) {
  MarkedText part{text.text.substr(range.begin, range.size()), {}};
  auto trusted = std::partition_point(text.trusted.begin(), text.trusted.end(),
                                      [&](const Range& r) { return r.end <= range.begin; });
  for (; trusted != text.trusted.end() && trusted->begin < range.end; ++trusted) {
    const size_t begin = std::max(trusted->begin, range.begin);
    part.trusted.push_back({begin - range.begin, std::min(trusted->end, range.end) - range.begin});
  }
  return part;
}

size_t Rewriter::boundary(size_t index) const {
  if (index / 2 >= from_.trusted.size()) return std::string::npos;
  const Range& range = from_.trusted[index / 2];
  return index % 2 == 0 ? range.begin : range.end;
}

void Rewriter::put_boundary(size_t at) {
  if (next_boundary_ % 2 == 0) {
    to_.trusted.push_back({at, at});
  } else {
    Range& open = to_.trusted.back();
    open.end = at;
    if (open.end <= open.begin) to_.trusted.pop_back();
  }
  ++next_boundary_;
}

void Rewriter::keep(size_t size_bytes) {
  COHORT_DCHECK(size_bytes <= from_.text.size() - position_);
  for (size_t at; (at = boundary(next_boundary_)) < position_ + size_bytes;) {
    put_boundary(to_.text.size() + (at - position_));
  }
  to_.text.append(from_.text, position_, size_bytes);
  position_ += size_bytes;
}

void Rewriter::replace(size_t size_bytes, std::string_view with) {
  COHORT_DCHECK(size_bytes <= from_.text.size() - position_);
  const size_t begin = to_.text.size();
  to_.text.append(with);
  for (size_t at; (at = boundary(next_boundary_)) < position_ + size_bytes || at == position_;) {
    const bool begins_inside = next_boundary_ % 2 == 0 && at != position_;
    put_boundary(begins_inside ? to_.text.size() : begin);
  }
  position_ += size_bytes;
}

MarkedText Rewriter::finish() && {
  COHORT_CHECK(position_ == from_.text.size());
  while (next_boundary_ < 2 * from_.trusted.size()) put_boundary(to_.text.size());
  return std::move(to_);
}

}  // namespace cohort::text
