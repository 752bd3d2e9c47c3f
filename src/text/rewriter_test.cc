#include "text/rewriter.h"

#include <gtest/gtest.h>

namespace cohort::text {
namespace {

using Ranges = std::vector<Range>;

TEST(Rewriter, KeptTextKeepsItsTrust) {
  const MarkedText from{"abcdef", {{1, 3}, {4, 6}}};
  Rewriter to(from);
  to.keep(2);
  to.keep_rest();
  const MarkedText result = std::move(to).finish();
  EXPECT_EQ(result.text, "abcdef");
  EXPECT_EQ(result.trusted, from.trusted);
}

TEST(Rewriter, RangesMoveWithTheText) {
  const MarkedText from{"a b c", {{2, 3}}};
  Rewriter to(from);
  to.keep(1);
  to.replace(1, "___");
  to.keep(1);
  to.replace(1, "");
  to.keep_rest();
  const MarkedText result = std::move(to).finish();
  EXPECT_EQ(result.text, "a___bc");
  EXPECT_EQ(result.trusted, (Ranges{{4, 5}}));
}

TEST(Rewriter, WhatWasTrustedOnlyInPartIsNotTrustedAfterwards) {
  const MarkedText from{"abcdef", {{0, 3}, {4, 6}}};
  Rewriter to(from);
  to.keep(2);
  to.replace(3, "X");  // "cde": c and e are trusted, d is not
  to.keep_rest();
  const MarkedText result = std::move(to).finish();
  EXPECT_EQ(result.text, "abXf");
  EXPECT_EQ(result.trusted, (Ranges{{0, 2}, {3, 4}}));
}

TEST(Rewriter, WhatIsTrustedAllOverStaysSo) {
  const MarkedText from{"abc", {{0, 3}}};
  Rewriter to(from);
  to.replace(0, "_");
  to.replace(2, "XYZ");
  to.keep_rest();
  const MarkedText result = std::move(to).finish();
  EXPECT_EQ(result.text, "_XYZc");
  EXPECT_EQ(result.trusted, (Ranges{{0, 5}}));
}

TEST(Rewriter, ReplacedTextNextToTrustedTextIsNotTrusted) {
  const MarkedText from{"abc", {{0, 1}, {2, 3}}};
  Rewriter to(from);
  to.keep(1);
  to.replace(1, "XY");
  to.keep(1);
  const MarkedText result = std::move(to).finish();
  EXPECT_EQ(result.trusted, (Ranges{{0, 1}, {3, 4}}));
}

TEST(Rewriter, ARangeThatVanishesIsDropped) {
  const MarkedText from{"abc", {{1, 2}}};
  Rewriter to(from);
  to.keep(1);
  to.replace(1, "");
  to.keep(1);
  EXPECT_EQ(std::move(to).finish().trusted, Ranges{});
}

TEST(Slice, CutsTheRangesToo) {
  const MarkedText from{"abcdef", {{0, 2}, {3, 6}}};
  const MarkedText part = slice(from, {1, 5});
  EXPECT_EQ(part.text, "bcde");
  EXPECT_EQ(part.trusted, (Ranges{{0, 1}, {2, 4}}));
}

}  // namespace
}  // namespace cohort::text
