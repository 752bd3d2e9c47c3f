#include "engine/output.h"

#include <gtest/gtest.h>

#include "engine/testing/fake_model.h"

namespace cohort::engine {
namespace {

using namespace testing;

constexpr text::TokenId kEnds[] = {kEos, 63};

TEST(Output, EndsAtAnyEndOfSequenceTokenAndCountsIt) {
  FakeTokenizer tokenizer;
  for (const text::TokenId end : kEnds) {
    Output output(tokenizer, {}, {.eos_tokens = kEnds, .max_tokens = 9});
    EXPECT_EQ(output.accept(1).text, "a");
    const auto last = output.accept(end);
    EXPECT_EQ(last.text, "");
    EXPECT_EQ(last.finish, FinishReason::kStop);
    EXPECT_EQ(output.tokens(), 2);
  }
}

TEST(Output, IgnoresEndOfSequenceTokensWhenTold) {
  FakeTokenizer tokenizer;
  Output output(tokenizer, {}, {.eos_tokens = kEnds, .max_tokens = 3, .ignore_eos = true});
  EXPECT_EQ(output.accept(kEos).finish, FinishReason::kNone);
  EXPECT_EQ(output.accept(2).text, "b");
  EXPECT_EQ(output.accept(3).finish, FinishReason::kLength);
}

TEST(Output, BansTheEndOfSequenceBeforeMinTokens) {
  FakeTokenizer tokenizer;
  Output output(tokenizer, {}, {.eos_tokens = kEnds, .min_tokens = 2, .max_tokens = 9});
  EXPECT_EQ(output.banned().size(), 2u);
  output.accept(1);
  EXPECT_EQ(output.banned().size(), 2u);
  output.accept(1);
  EXPECT_TRUE(output.banned().empty());
}

TEST(Output, LooksForStopStringsAfterMinTokensOnly) {
  FakeTokenizer tokenizer;
  const std::vector<std::string> stops = {"ab"};
  Output output(tokenizer, stops, {.eos_tokens = kEnds, .min_tokens = 3, .max_tokens = 9});
  std::string text;
  for (const text::TokenId token : {1, 2, 1}) text += output.accept(token).text;
  EXPECT_EQ(text, "aba");
  EXPECT_EQ(output.accept(1).text, "");
  const auto last = output.accept(2);
  EXPECT_EQ(last.text, "");
  EXPECT_EQ(last.finish, FinishReason::kStop);
}

TEST(Output, AStopStringInTheLastTokenIsAStop) {
  FakeTokenizer tokenizer;
  const std::vector<std::string> stops = {"b"};
  Output output(tokenizer, stops, {.eos_tokens = kEnds, .max_tokens = 2});
  EXPECT_EQ(output.accept(1).text, "a");
  EXPECT_EQ(output.accept(2).finish, FinishReason::kStop);
}

TEST(Output, HalfACharacterWaitsForItsRestAndIsReplacedAtTheEnd) {
  // é is C3 A9: the byte pieces of a vocabulary with byte fallback.
  class Bytes : public FakeTokenizer {
   public:
    std::string id_to_token(text::TokenId id) const override {
      return id == 1 ? "<0xC3>" : "<0xA9>";
    }
    const text::Decoder& decoder() const override { return decoder_; }

   private:
    text::Decoder decoder_ =
        text::Decoder::parse(nlohmann::ordered_json{{"type", "ByteFallback"}}).value();
  };
  Bytes tokenizer;
  Output output(tokenizer, {}, {.eos_tokens = {}, .max_tokens = 3});
  EXPECT_EQ(output.accept(1).text, "");
  EXPECT_EQ(output.accept(2).text, "\xC3\xA9");
  EXPECT_EQ(output.accept(1).text, "\xEF\xBF\xBD");
}

}  // namespace
}  // namespace cohort::engine
