#include "text/regex.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "text/regex_syntax.h"

namespace cohort::text {
namespace {

std::vector<std::string> matches(std::string_view pattern, std::string_view text) {
  const auto regex = Regex::compile(pattern);
  EXPECT_TRUE(regex.has_value()) << regex.error().message;
  RegexSearch search(*regex);
  std::vector<std::string> found;
  size_t at = 0;
  while (const auto match = search.next(text, at)) {
    found.emplace_back(text.substr(match->begin, match->size()));
    at = match->end;
  }
  return found;
}

using Strings = std::vector<std::string>;

TEST(Regex, FindsMatchesOneAfterTheOther) {
  EXPECT_EQ(matches(R"(\p{N}{1,3}|\p{L}+)", "ab12345 é"), (Strings{"ab", "123", "45", "é"}));
}

TEST(Regex, WhitespaceIsUnicodesProperty) {
  EXPECT_EQ(matches(R"(\s)", " \u180e\u3000\u0085x"), (Strings{" ", "\u3000", "\u0085"}));
  EXPECT_EQ(matches(R"([^\s]+)", "a \u180e"), (Strings{"a", "\u180e"}));
  EXPECT_EQ(matches(R"([\S]+)", "a\u180e b"), (Strings{"a\u180e", "b"}));
  EXPECT_EQ(matches(R"(\s+(?!\S))", "a   b  "), (Strings{"  ", "  "}));
}

TEST(Regex, ClassesNestAndIntersect) {
  EXPECT_EQ(matches(R"([\p{L}&&[^\p{Han}]]+)", "ab的cd"), (Strings{"ab", "cd"}));
  EXPECT_EQ(matches("[a[0-9]]+", "xa1-a"), (Strings{"a1", "a"}));
  EXPECT_EQ(matches("[^a[0-9]]+", "xa1-a"), (Strings{"x", "-"}));
  EXPECT_EQ(matches(R"([!\[\]\\]+)", R"(a[!]\b)"), (Strings{R"([!]\)"}));
  EXPECT_EQ(matches("[[:digit:]x]+", "1x2y"), (Strings{"1x2"}));
}

TEST(Regex, CaseIsFoldedByUnicode) {
  EXPECT_EQ(matches("(?i:'s|'ll)", "'S 'lL '\u017f"), (Strings{"'S", "'lL", "'\u017f"}));
}

TEST(Regex, EmptyMatchesAreNone) { EXPECT_EQ(matches("a*", "baab"), (Strings{"aa"})); }

TEST(Regex, ABrokenPatternIsAnError) {
  EXPECT_FALSE(Regex::compile("(a").has_value());
  EXPECT_FALSE(Regex::compile("[a").has_value());
  EXPECT_FALSE(Regex::compile("a\\").has_value());
  EXPECT_FALSE(Regex::compile(std::string(100, '[')).has_value());
}

TEST(Regex, APatternThatBacktracksWithoutEndIsCutShort) {
  // It ends, and what lies beyond is still found.
  const std::string text = std::string(100000, 'a') + std::string(10000, ' ') + "b";
  EXPECT_EQ(matches("(a|aa|aaa)+c|b", text), Strings{"b"});
}

TEST(Regex, LongRunsMatchWhole) {
  const std::string text(1 << 20, 'A');
  const auto found = matches(
      R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{M}]*[\p{Ll}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{M}]+)", text);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].size(), text.size());
}

}  // namespace
}  // namespace cohort::text
