#include "text/jinja/text.h"

#include <gtest/gtest.h>

#include "text/jinja/text_functions.h"

namespace cohort::text::jinja {
namespace {

// "abc" trusted, "(def)" untrusted, as one string.
std::string marked(const Text& text) {
  std::string out;
  for (const TextSpan& span : text.spans()) out += span.trusted ? span.text : "(" + span.text + ")";
  return out;
}

Text mixed() {
  Text text("ab");
  text.append("cd", false);
  text.append("ef", true);
  return text;
}

TEST(JinjaText, RunsOfTheSameTrustAreOne) {
  Text text("a");
  text.append("b", true);
  text.append("", false);
  text.append("c", false);
  text.append(Text("d", false));
  EXPECT_EQ(marked(text), "ab(cd)");
  EXPECT_EQ(text.spans().size(), 2u);
}

TEST(JinjaText, SlicesKeepTheTrustOfEachByte) {
  EXPECT_EQ(marked(mixed()), "ab(cd)ef");
  EXPECT_EQ(marked(mixed().slice(1, 3)), "b(c)");
  EXPECT_EQ(marked(mixed().slice(2, 4)), "(cd)");
  EXPECT_EQ(marked(mixed().slice(3, 6)), "(d)ef");
  EXPECT_EQ(marked(mixed().slice(6, 6)), "");
}

TEST(JinjaText, EverySliceAgreesWithTrustByByte) {
  Text text;
  for (int i = 0; i < 40; ++i)
    text.append(std::string(1, static_cast<char>('a' + i % 26)), (i * i) % 3 == 0);
  for (size_t begin = 0; begin <= text.size(); ++begin) {
    for (size_t end = begin; end <= text.size(); ++end) {
      const Text part = text.slice(begin, end);
      ASSERT_EQ(part.bytes(), text.bytes().substr(begin, end - begin));
      for (size_t i = begin; i < end; ++i)
        ASSERT_EQ(part.trusted_at(i - begin), text.trusted_at(i));
    }
  }
}

TEST(JinjaText, StringFunctionsKeepProvenance) {
  EXPECT_EQ(marked(replace(mixed(), "bc", Text("X", false), -1)), "a(Xd)ef");
  EXPECT_EQ(marked(change_case(mixed(), Case::kUpper)), "AB(CD)EF");
  EXPECT_EQ(marked(strip(mixed(), "abf", Side::kBoth)), "(cd)e");
  EXPECT_EQ(marked(pad(mixed(), 8, ".", Side::kLeft)), "..ab(cd)ef");
  const auto parts = split(mixed(), "d", -1, Side::kLeft);
  ASSERT_EQ(parts.size(), 2u);
  EXPECT_EQ(marked(parts[0]), "ab(c)");
  EXPECT_EQ(marked(parts[1]), "ef");
}

TEST(JinjaText, BytesThatAreNoUtf8PassThrough) {
  const Text broken("a\xff\xc3z\xe2\x82");
  EXPECT_EQ(change_case(broken, Case::kUpper).bytes(), "A\xff\xc3Z\xe2\x82");
  EXPECT_EQ(strip(broken, std::nullopt, Side::kBoth).bytes(), broken.bytes());
}

}  // namespace
}  // namespace cohort::text::jinja
