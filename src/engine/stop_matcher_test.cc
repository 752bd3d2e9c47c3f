#include "engine/stop_matcher.h"

#include <gtest/gtest.h>

#include "engine/random.h"

namespace cohort::engine {
namespace {

struct Outcome {
  std::string text;
  bool stopped = false;
};

// Feeds `text` in pieces of `piece_bytes`, and checks that what was sent never goes past the beginning of a stop string.
Outcome feed(std::vector<std::string> stops, std::string_view text, size_t piece_bytes) {
  StopMatcher matcher(stops);
  Outcome outcome;
  for (size_t i = 0; i < text.size() && !matcher.stopped(); i += piece_bytes) {
    outcome.text += matcher.push(text.substr(i, piece_bytes));
  }
  outcome.stopped = matcher.stopped();
  if (!outcome.stopped) outcome.text += matcher.finish();
  return outcome;
}

// What should be sent: up to the stop string that is complete first; of those, the one that began first.
Outcome expected(const std::vector<std::string>& stops, std::string_view text) {
  for (size_t end = 1; end <= text.size(); ++end) {
    size_t begin = std::string_view::npos;
    for (const std::string& stop : stops) {
      if (!stop.empty() && text.substr(0, end).ends_with(stop))
        begin = std::min(begin, end - stop.size());
    }
    if (begin != std::string_view::npos) return {std::string(text.substr(0, begin)), true};
  }
  return {std::string(text), false};
}

TEST(StopMatcher, WithoutStopStringsTextPassesAtOnce) {
  StopMatcher matcher({});
  EXPECT_EQ(matcher.push("abc"), "abc");
  EXPECT_EQ(matcher.finish(), "");
}

TEST(StopMatcher, TextThatMayBeginAStopStringIsHeldBack) {
  StopMatcher matcher(std::vector<std::string>{"END"});
  EXPECT_EQ(matcher.push("the E"), "the ");
  EXPECT_EQ(matcher.push("N"), "");
  EXPECT_EQ(matcher.push("T"), "ENT");
  EXPECT_EQ(matcher.push("EN"), "");
  EXPECT_EQ(matcher.push("D and more"), "");
  EXPECT_TRUE(matcher.stopped());
  EXPECT_EQ(matcher.finish(), "");
}

TEST(StopMatcher, HeldTextComesOutAtTheEnd) {
  StopMatcher matcher(std::vector<std::string>{"END"});
  EXPECT_EQ(matcher.push("xEN"), "x");
  EXPECT_EQ(matcher.finish(), "EN");
}

TEST(StopMatcher, AFalseStartCanContainTheTrueOne) {
  for (const size_t piece : {1, 2, 3, 20}) {
    const Outcome outcome = feed({"aab"}, "xaaab!", piece);
    EXPECT_EQ(outcome.text, "xa");
    EXPECT_TRUE(outcome.stopped);
  }
}

TEST(StopMatcher, OfStopStringsThatEndTogetherTheLongerCounts) {
  const Outcome outcome = feed({"c", "abc"}, "xabcy", 2);
  EXPECT_EQ(outcome.text, "x");
}

TEST(StopMatcher, EmptyStopStringsAreIgnored) { EXPECT_EQ(feed({"", "z"}, "abz", 1).text, "ab"); }

TEST(StopMatcher, AgreesWithASearchOverTheWholeText) {
  for (uint64_t seed = 0; seed < 3000; ++seed) {
    uint64_t draws = 0;
    const auto draw = [&](uint64_t below) { return random_bits(seed, draws++) % below; };
    const auto word = [&](uint64_t longest) {
      std::string made(draw(longest + 1), 'a');
      for (char& c : made) c = static_cast<char>('a' + draw(2));
      return made;
    };
    const std::vector<std::string> stops = {word(5), word(7), word(3)};
    const std::string text = word(40);
    const Outcome want = expected(stops, text), got = feed(stops, text, 1 + draw(6));
    ASSERT_EQ(got.text, want.text) << "seed " << seed << " text " << text;
    ASSERT_EQ(got.stopped, want.stopped) << "seed " << seed;
  }
}

}  // namespace
}  // namespace cohort::engine
