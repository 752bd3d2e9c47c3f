#include "text/decoder.h"

#include <gtest/gtest.h>

#include "base/json.h"
#include "text/unicode.h"

namespace cohort::text {
namespace {

using Pieces = std::vector<std::string>;

std::string decode(const char* config, const Pieces& pieces, bool eager = false) {
  const auto decoder = Decoder::parse(*parse_json(config));
  EXPECT_TRUE(decoder.has_value()) << decoder.error().message;
  DecodeStream stream(*decoder, eager);
  std::string text;
  for (const std::string& piece : pieces) {
    stream.push(piece, text);
    EXPECT_TRUE(is_valid_utf8(text)) << "half a character came out";
  }
  stream.finish(text);
  return text;
}

constexpr auto kByteLevel = R"({"type":"ByteLevel"})";
constexpr auto kSentencePiece = R"({"type":"Sequence","decoders":[
    {"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"},
    {"type":"Strip","content":" ","start":1,"stop":0}]})";

TEST(Decoder, WithoutOnePiecesAreJoinedBySpaces) {
  EXPECT_EQ(decode("null", {"a", "b", "c"}), "a b c");
}

TEST(Decoder, ByteLevelTurnsItsAlphabetIntoText) {
  EXPECT_EQ(decode(kByteLevel, {"Ġhe", "llo", "ĠÃ", "©"}), " hello é");
  EXPECT_EQ(decode(kByteLevel, {"<｜User｜>", "Ġa"}), "<｜User｜> a");
  EXPECT_EQ(decode(kByteLevel, {"ðŁ", "ĺ", "Ģ"}), "😀");
}

TEST(Decoder, ByteLevelReplacesBrokenBytes) {
  EXPECT_EQ(decode(kByteLevel, {"ðŁ", "a"}), "\uFFFDa");
  EXPECT_EQ(decode(kByteLevel, {"a", "ðŁĺ"}), "a\uFFFD");
}

TEST(Decoder, SentencePieceDropsOneSpaceAtTheBegin) {
  EXPECT_EQ(decode(kSentencePiece, {"▁he", "llo", "▁you"}), "hello you");
  EXPECT_EQ(decode(kSentencePiece, {"▁", "▁", "a▁"}), " a ");
  EXPECT_EQ(decode(kSentencePiece, {"a", "▁b"}), "a b");
}

TEST(Decoder, ByteFallbackJoinsBytesIntoCharacters) {
  for (const bool eager : {false, true}) {
    EXPECT_EQ(decode(kSentencePiece, {"a", "<0xC3>", "<0xA9>", "b"}, eager), "aéb");
    EXPECT_EQ(decode(kSentencePiece, {"<0xF0>", "<0x9F>", "<0x98>", "<0x80>"}, eager), "😀");
    EXPECT_EQ(decode(kSentencePiece, {"<0xF0>", "<0x9F>", "b"}, eager), "\uFFFD\uFFFDb");
    EXPECT_EQ(decode(kSentencePiece, {"<0xF0>"}, eager), "\uFFFD");
  }
}

TEST(Decoder, ABrokenByteSpoilsItsRunUnlessTextIsGivenOutAtOnce) {
  const Pieces pieces = {"<0xC3>", "<0xA9>", "<0x80>"};
  EXPECT_EQ(decode(kSentencePiece, pieces, false), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(decode(kSentencePiece, pieces, true), "é\uFFFD");
}

TEST(Decoder, EagerStreamsDoNotWaitForTheEndOfARunOfBytes) {
  const auto decoder = Decoder::parse(*parse_json(kSentencePiece));
  DecodeStream stream(*decoder, true);
  std::string text;
  stream.push("<0xC3>", text);
  EXPECT_EQ(text, "");
  stream.push("<0xA9>", text);
  EXPECT_EQ(text, "é");
}

TEST(Decoder, MetaspaceDropsMarksInTheFirstPieceOnly) {
  constexpr auto kAlways = R"({"type":"Metaspace","replacement":"▁","prepend_scheme":"always"})";
  constexpr auto kNever = R"({"type":"Metaspace","replacement":"▁","prepend_scheme":"never"})";
  EXPECT_EQ(decode(kAlways, {"▁Hey", "▁friend!"}), "Hey friend!");
  EXPECT_EQ(decode(kNever, {"▁Hey", "▁friend!"}), " Hey friend!");
}

TEST(Decoder, StripWorksOnPiecesOrOnTheWholeText) {
  EXPECT_EQ(decode(R"({"type":"Strip","content":"_","start":1,"stop":1})", {"__a_", "_b__"}),
            "_ab_");
  EXPECT_EQ(decode(R"({"type":"Sequence","decoders":[{"type":"Fuse"},
                       {"type":"Strip","content":"_","start":2,"stop":2}]})",
                   {"_", "__a_", "_b_", "__"}),
            "_a__b_");
}

TEST(Decoder, ReplaceAfterFuseSeesMatchesAcrossPieces) {
  constexpr auto kConfig = R"({"type":"Sequence","decoders":[{"type":"Fuse"},
      {"type":"Replace","pattern":{"String":"abc"},"content":"X"}]})";
  EXPECT_EQ(decode(kConfig, {"ab", "cab", "a", "abc", "ab"}), "XabaXab");
}

TEST(Decoder, NamesWhatItDoesNotKnow) {
  for (const auto* config :
       {R"({"type":"Sorcery"})", R"({"type":"Sequence"})",
        R"({"type":"Replace","pattern":{"Regex":"a"},"content":"b"})",
        R"({"type":"Sequence","decoders":[{"type":"Fuse"},{"type":"ByteFallback"}]})"}) {
    EXPECT_FALSE(Decoder::parse(*parse_json(config)).has_value()) << config;
  }
}

}  // namespace
}  // namespace cohort::text
