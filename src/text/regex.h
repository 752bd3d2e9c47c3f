// Regular expressions of tokenizer.json. Wraps PCRE2, compiled to machine code where PCRE2 can.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string_view>

#include "base/result.h"
#include "text/rewriter.h"

namespace cohort::text {

// Immutable; many threads may search with one.
class Regex {
 public:
  // The pattern as in the file (Oniguruma's dialect). kDataLoss with the reason.
  static Result<Regex> compile(std::string_view pattern);

  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

 private:
  friend class RegexSearch;
  struct Code;
  explicit Regex(std::unique_ptr<Code> code);
  std::unique_ptr<Code> code_;
};

// Finds matches from front to back. Cheap enough to make per text, not per word. One thread; the regex must outlive it.
class RegexSearch {
 public:
  explicit RegexSearch(const Regex& regex);
  ~RegexSearch();
  RegexSearch(const RegexSearch&) = delete;
  RegexSearch& operator=(const RegexSearch&) = delete;

  // The next match that is not empty, at or after `from`. `subject` must be valid UTF-8. Once the pattern backtracks
  // beyond its budget, matches are looked for in short stretches of the text instead, and may end where those end.
  std::optional<Range> next(std::string_view subject, size_t from);

 private:
  struct Workspace;
  // The pattern's answer, or that the budget was used up.
  struct Attempt {
    bool within_budget;
    std::optional<Range> match;
  };
  Attempt attempt(std::string_view subject, size_t from);

  const Regex::Code& code_;
  std::unique_ptr<Workspace> workspace_;
  bool over_budget_ = false;
};

}  // namespace cohort::text
