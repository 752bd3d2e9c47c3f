#include "text/jinja/text.h"

#include <algorithm>

namespace cohort::text::jinja {

bool Text::trusted_at(size_t offset) const {
  const auto flips_before = std::upper_bound(flips_.begin(), flips_.end(), offset) - flips_.begin();
  return first_trusted_ == (flips_before % 2 == 0);
}

void Text::append(std::string_view bytes, bool trusted) {
  if (bytes.empty() || overflowed_) return;
  if (bytes.size() > kMaxBytes - std::min(kMaxBytes, bytes_.size())) {
    overflowed_ = true;
    return;
  }
  if (bytes_.empty()) {
    first_trusted_ = trusted;
  } else if (last_trusted() != trusted) {
    flips_.push_back(bytes_.size());
  }
  bytes_ += bytes;
}

void Text::append_slice(const Text& from, size_t begin, size_t end) {
  overflowed_ = overflowed_ || from.overflowed_;
  auto flip = std::upper_bound(from.flips_.begin(), from.flips_.end(), begin);
  while (begin < end) {
    const size_t run_end = flip == from.flips_.end() ? end : std::min(end, *flip++);
    append(std::string_view(from.bytes_).substr(begin, run_end - begin), from.trusted_at(begin));
    begin = run_end;
  }
}

Text Text::slice(size_t begin, size_t end) const {
  Text part;
  part.append_slice(*this, begin, end);
  return part;
}

std::vector<TextSpan> Text::spans() const {
  std::vector<TextSpan> spans;
  size_t begin = 0;
  for (size_t i = 0; begin < size(); ++i) {
    const size_t end = i < flips_.size() ? flips_[i] : size();
    spans.push_back({bytes_.substr(begin, end - begin), trusted_at(begin)});
    begin = end;
  }
  return spans;
}

}  // namespace cohort::text::jinja
