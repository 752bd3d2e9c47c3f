#include "text/pre_tokenizer.h"

#include <gtest/gtest.h>

#include "base/json.h"

namespace cohort::text {
namespace {

using Strings = std::vector<std::string>;

Strings split(const char* config, std::string_view text, bool at_start = true) {
  const auto pre_tokenizer = PreTokenizer::parse(*parse_json(config), /*model_takes_bytes=*/false);
  EXPECT_TRUE(pre_tokenizer.has_value()) << pre_tokenizer.error().message;
  Words words{std::string(text), {}, at_start};
  pre_tokenizer->run(words);
  Strings result;
  for (const Range& range : words.ranges)
    result.push_back(words.text.substr(range.begin, range.size()));
  return result;
}

std::string split_config(const std::string& behavior, const char* invert = "false") {
  return R"({"type":"Split","pattern":{"String":"-"},"behavior":")" + behavior + R"(","invert":)" +
         invert + "}";
}

TEST(Split, HasFiveWaysToTreatAMatch) {
  constexpr auto kText = "the-final--countdown";
  EXPECT_EQ(split(split_config("Removed").c_str(), kText), (Strings{"the", "final", "countdown"}));
  EXPECT_EQ(split(split_config("Isolated").c_str(), kText),
            (Strings{"the", "-", "final", "-", "-", "countdown"}));
  EXPECT_EQ(split(split_config("MergedWithPrevious").c_str(), kText),
            (Strings{"the-", "final-", "-", "countdown"}));
  EXPECT_EQ(split(split_config("MergedWithNext").c_str(), kText),
            (Strings{"the", "-final", "-", "-countdown"}));
  EXPECT_EQ(split(split_config("Contiguous").c_str(), kText),
            (Strings{"the", "-", "final", "--", "countdown"}));
}

TEST(Split, CanBeInverted) {
  EXPECT_EQ(split(split_config("Removed", "true").c_str(), "a--b-"), (Strings{"-", "-", "-"}));
}

TEST(Split, TextWithoutAMatchIsOneWord) {
  for (const auto* behavior :
       {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"}) {
    EXPECT_EQ(split(split_config(behavior).c_str(), "abc"), Strings{"abc"}) << behavior;
    EXPECT_EQ(split(split_config(behavior).c_str(), ""), Strings{}) << behavior;
  }
}

TEST(Split, AStepInASequenceSeesOnlyOneWordAtATime) {
  EXPECT_EQ(split(R"({"type":"Sequence","pretokenizers":[
                      {"type":"Split","pattern":{"Regex":"\\p{N}"},"behavior":"Isolated","invert":false},
                      {"type":"Split","pattern":{"Regex":"\\s+(?!\\S)|\\s"},"behavior":"Isolated","invert":false}]})",
                  "a  1  b"),
            (Strings{"a", "  ", "1", " ", " ", "b"}));
}

TEST(Punctuation, IsCutOffOneByOne) {
  EXPECT_EQ(split(R"({"type":"Punctuation"})", "Hey!? $ 。"),
            (Strings{"Hey", "!", "?", " ", "$", " ", "。"}));
}

TEST(Digits, AreCutOffTogetherOrAlone) {
  EXPECT_EQ(split(R"({"type":"Digits","individual_digits":false})", "a123b"),
            (Strings{"a", "123", "b"}));
  EXPECT_EQ(split(R"({"type":"Digits","individual_digits":true})", "a12"),
            (Strings{"a", "1", "2"}));
}

TEST(Whitespace, SeparatesWordsAndDisappears) {
  EXPECT_EQ(split(R"({"type":"Whitespace"})", "Hé, du_1!?  ok"),
            (Strings{"Hé", ",", "du_1", "!?", "ok"}));
  EXPECT_EQ(split(R"({"type":"WhitespaceSplit"})", " a,b\n c"), (Strings{"a,b", "c"}));
  EXPECT_EQ(split(R"({"type":"BertPreTokenizer"})", "a,b c"), (Strings{"a", ",", "b", "c"}));
}

TEST(Metaspace, MarksTheBeginsOfWords) {
  EXPECT_EQ(split(R"({"type":"Metaspace","replacement":"▁"})", "Hey   friend!"),
            (Strings{"▁Hey", "▁", "▁", "▁friend!"}));
  EXPECT_EQ(split(R"({"type":"Metaspace","prepend_scheme":"never"})", "a b"), (Strings{"a", "▁b"}));
  EXPECT_EQ(split(R"({"type":"Metaspace","add_prefix_space":false})", "a b"), (Strings{"a", "▁b"}));
  EXPECT_EQ(split(R"({"type":"Metaspace","split":false})", "a b"), (Strings{"▁a▁b"}));
}

TEST(Metaspace, FirstMeansTheBeginOfTheInput) {
  constexpr auto kConfig = R"({"type":"Metaspace","prepend_scheme":"first"})";
  EXPECT_EQ(split(kConfig, "a b", true), (Strings{"▁a", "▁b"}));
  EXPECT_EQ(split(kConfig, "a b", false), (Strings{"a", "▁b"}));
}

TEST(ByteLevel, SplitsLikeGpt2AndWritesBytesAsCharacters) {
  EXPECT_EQ(split(R"({"type":"ByteLevel","add_prefix_space":true})", "it's é"),
            (Strings{"Ġit", "'s", "ĠÃ©"}));
}

TEST(ByteLevel, LeavesBytesToAModelThatTakesThem) {
  const auto pre_tokenizer = PreTokenizer::parse(
      *parse_json(R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":false})"), true);
  ASSERT_TRUE(pre_tokenizer.has_value());
  EXPECT_TRUE(pre_tokenizer->yields_bytes());
  Words words{"a é", {}};
  pre_tokenizer->run(words);
  EXPECT_EQ(words.text, "a é");
}

TEST(PreTokenizer, NamesWhatItDoesNotKnow) {
  for (const auto* config : {R"({"type":"Sorcery"})", R"({"type":"Sequence"})",
                             R"({"type":"Split","pattern":{"Regex":"("},"behavior":"Isolated"})",
                             R"({"type":"Split","pattern":{"String":"a"},"behavior":"Mangled"})"}) {
    EXPECT_FALSE(PreTokenizer::parse(*parse_json(config), true).has_value()) << config;
  }
}

}  // namespace
}  // namespace cohort::text
