// A string that remembers which of its bytes came from outside (users) and which from the template itself.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace cohort::text::jinja {

// Every way of building text goes through append or slice, so provenance cannot get lost. Offsets are bytes.
// A text ends at kMaxBytes: more is dropped, and overflowed() says so; the interpreter then gives up with an error.
class Text {
 public:
  static constexpr size_t kMaxBytes = 64 << 20;

  Text() = default;
  explicit Text(std::string bytes, bool trusted = true)
      : bytes_(std::move(bytes)), first_trusted_(trusted) {}

  const std::string& bytes() const { return bytes_; }
  size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }
  bool overflowed() const { return overflowed_; }

  bool all_trusted() const { return empty() || (first_trusted_ && flips_.empty()); }
  bool trusted_at(size_t offset) const;

  void append(const Text& more) { append_slice(more, 0, more.size()); }
  void append(std::string_view bytes, bool trusted);
  void append_slice(const Text& from, size_t begin, size_t end);
  Text slice(size_t begin, size_t end) const;

  std::vector<TextSpan> spans() const;

 private:
  bool last_trusted() const { return first_trusted_ == (flips_.size() % 2 == 0); }

  std::string bytes_;
  bool first_trusted_ = true;
  bool overflowed_ = false;
  std::vector<size_t> flips_;  // ascending offsets at which trust changes, each in (0, size)
};

}  // namespace cohort::text::jinja
