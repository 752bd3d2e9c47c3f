#include "text/unicode.h"

#include <gtest/gtest.h>

namespace cohort::text {
namespace {

std::string repaired(std::string_view bytes) { return repair_utf8({std::string(bytes), {}}).text; }

std::string normalized(std::string_view text, NormalForm form) {
  return normalize_unicode({std::string(text), {}}, form).text;
}

TEST(Utf8, ReadsAndWritesCharactersOfEverySize) {
  for (const char32_t code : {U'a', U'\u00e9', U'\u20ac', U'\U0001F600'}) {
    std::string text = "x";
    append_utf8(text, code);
    EXPECT_EQ(utf8_at(text, 1).code, code);
    EXPECT_EQ(utf8_at(text, 1).size, text.size() - 1);
    EXPECT_EQ(utf8_before(text, text.size()).code, code);
    EXPECT_TRUE(is_valid_utf8(text));
  }
}

TEST(Utf8, ABrokenPartBecomesOneReplacementCharacter) {
  EXPECT_EQ(repaired("a\x80z"), "a\uFFFDz");
  EXPECT_EQ(repaired("\xE2\x82z"), "\uFFFDz");                          // cut short
  EXPECT_EQ(repaired("\xE2\x82"), "\uFFFD");                            // at the end
  EXPECT_EQ(repaired("\xC0\xAF"), "\uFFFD\uFFFD");                      // overlong
  EXPECT_EQ(repaired("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");            // a surrogate
  EXPECT_EQ(repaired("\xF4\x90\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD");  // beyond U+10FFFF
  EXPECT_EQ(repaired("\xF0\x9F\x98z"), "\uFFFDz");
  EXPECT_EQ(repaired("héllo 的"), "héllo 的");
}

TEST(Utf8, ValidityIsSeenAtEveryPlaceOfAWord) {
  for (size_t at = 0; at < 20; ++at) {
    std::string text(20, 'a');
    EXPECT_TRUE(is_valid_utf8(text));
    text[at] = '\xFF';
    EXPECT_FALSE(is_valid_utf8(text)) << at;
  }
}

TEST(Characters, WhitespaceIsUnicodesProperty) {
  for (const char32_t code : {U' ', U'\n', U'\u0085', U'\u00a0', U'\u3000'})
    EXPECT_TRUE(is_whitespace(code));
  for (const char32_t code : {U'a', U'\u180e', U'\u200b', U'\ufeff'})
    EXPECT_FALSE(is_whitespace(code));
}

TEST(Characters, ClassesFollowTheGeneralCategory) {
  EXPECT_TRUE(is_numeric(U'½'));
  EXPECT_TRUE(is_numeric(U'٣'));
  EXPECT_FALSE(is_numeric(U'a'));
  EXPECT_TRUE(is_punctuation(U'$'));
  EXPECT_TRUE(is_punctuation(U'。'));
  EXPECT_FALSE(is_punctuation(U'€'));
  EXPECT_TRUE(is_mark(U'\u0301'));
  EXPECT_TRUE(is_word(U'_'));
  EXPECT_TRUE(is_word(U'的'));
  EXPECT_FALSE(is_word(U'-'));
}

TEST(Normalization, ComposesDecomposesAndReorders) {
  EXPECT_EQ(normalized("cafe\u0301 \u212b", NormalForm::kNfc), "caf\u00e9 \u00c5");
  EXPECT_EQ(normalized("caf\u00e9", NormalForm::kNfd), "cafe\u0301");
  EXPECT_EQ(normalized("q\u0307\u0323", NormalForm::kNfc), "q\u0323\u0307");
  EXPECT_EQ(normalized("\u1112\u1161\u11ab", NormalForm::kNfc), "\ud55c");
  EXPECT_EQ(normalized("\ufb01 \u00bd", NormalForm::kNfc), "\ufb01 \u00bd");
  EXPECT_EQ(normalized("\ufb01 \u00bd", NormalForm::kNfkc), "fi 1\u20442");
  EXPECT_EQ(normalized("\uff8a\uff9f", NormalForm::kNfkc), "\u30d1");
  EXPECT_EQ(normalized("\u00bd", NormalForm::kNfkd), "1\u20442");
}

TEST(Normalization, AMegabyteOfMarksIsNoTrouble) {
  std::string text = "a";
  for (int i = 0; i < 250000; ++i) text += i % 2 == 0 ? "\u0301" : "\u0323";
  const std::string composed = normalized(text, NormalForm::kNfc);
  EXPECT_TRUE(composed.starts_with("\u1ea1\u0323"));  // the dots below come first, one is composed
}

TEST(Normalization, TrustStaysWithTheTextItWasGivenTo) {
  const MarkedText text{"ae\u0301b", {{0, 2}}};  // the accent is not trusted
  const MarkedText composed = normalize_unicode(text, NormalForm::kNfc);
  EXPECT_EQ(composed.text, "a\u00e9b");
  EXPECT_EQ(composed.trusted, (std::vector<Range>{{0, 1}}));
}

TEST(LowerCase, OneLetterBecomesTwo) {
  std::string out;
  for (const char32_t code : {U'A', U'É', U'İ', U'ß'}) append_lowercase(out, code);
  EXPECT_EQ(out, "aéi\u0307ß");
}

}  // namespace
}  // namespace cohort::text
