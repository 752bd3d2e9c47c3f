#include "text/added_tokens.h"

#include <gtest/gtest.h>

namespace cohort::text {
namespace {

AddedToken control(TokenId id, std::string content) {
  return {.id = id, .content = std::move(content), .special = true, .is_control = true};
}

// "a|7|b": text, token 7, text.
std::string shown(const AddedTokenMatcher& matcher, const MarkedText& text) {
  std::string out;
  for (const TextPart& part : matcher.split(text)) {
    if (!out.empty()) out += '|';
    out += part.token >= 0 ? std::to_string(part.token)
                           : text.text.substr(part.range.begin, part.range.size());
  }
  return out;
}

std::string shown(const AddedTokenMatcher& matcher, const std::string& text) {
  return shown(matcher, MarkedText{text, {{0, text.size()}}});
}

TEST(AddedTokens, TheLongestOneAtTheLeftmostPlaceWins) {
  const AddedTokenMatcher matcher({control(1, "<a>"), control(2, "<a><b>"), control(3, "b>c")});
  EXPECT_EQ(shown(matcher, "x<a>y<a><b>c"), "x|1|y|2|c");
  EXPECT_EQ(shown(matcher, "<b>c"), "<|3");
  EXPECT_EQ(shown(matcher, ""), "");
}

TEST(AddedTokens, MayTakeTheWhiteSpaceAroundThem) {
  AddedToken left = control(1, "<l>");
  left.lstrip = true;
  AddedToken right = control(2, "<r>");
  right.rstrip = true;
  const AddedTokenMatcher matcher({left, right});
  EXPECT_EQ(shown(matcher, "a \u3000<l> b"), "a|1| b");
  EXPECT_EQ(shown(matcher, "a <r> \n b"), "a |2|b");
  EXPECT_EQ(shown(matcher, "<r>  <l>"), "2|1");
}

TEST(AddedTokens, ASingleWordTouchesNoLetters) {
  AddedToken word{.id = 1, .content = "end", .single_word = true};
  const AddedTokenMatcher matcher({word});
  EXPECT_EQ(shown(matcher, "end, bend ends éend end"), "1|, bend ends éend |1");
}

TEST(AddedTokens, ControlTokensAreFoundInTrustedTextOnly) {
  const AddedTokenMatcher matcher({control(1, "<s>"), {.id = 2, .content = "\n\n"}});
  EXPECT_EQ(shown(matcher, MarkedText{"<s><s>\n\n", {{0, 3}}}), "1|<s>|2");
  EXPECT_EQ(shown(matcher, MarkedText{"<s><s>", {{3, 6}}}), "<s>|1");
  EXPECT_EQ(shown(matcher, MarkedText{"<s>", {{0, 1}, {2, 3}}}), "<s>");  // only half of it is
  EXPECT_EQ(shown(matcher, MarkedText{"<s>", {}}), "<s>");
}

TEST(AddedTokens, WhereTheLongestIsForbiddenAShorterOneIsTaken) {
  const AddedTokenMatcher matcher({control(1, "\n\n<s>"), {.id = 2, .content = "\n"}});
  EXPECT_EQ(shown(matcher, MarkedText{"\n\n<s>", {}}), "2|2|<s>");
}

TEST(AddedTokens, MarkersAreToldFromText) {
  EXPECT_TRUE(looks_like_control("anything", /*special=*/true, true));
  EXPECT_TRUE(looks_like_control("<|fim_prefix|>", false, true));
  EXPECT_TRUE(looks_like_control("<｜User｜>", false, false));
  EXPECT_TRUE(looks_like_control("<unused7>", false, true));
  EXPECT_TRUE(looks_like_control("<tool_response>", false, false));
  EXPECT_FALSE(looks_like_control("<table>", false, true));
  EXPECT_FALSE(looks_like_control("\n\n", false, false));
  EXPECT_FALSE(looks_like_control("   ", false, false));
}

}  // namespace
}  // namespace cohort::text
