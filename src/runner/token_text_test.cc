#include "runner/token_text.h"

#include <gtest/gtest.h>

namespace cohort::runner {
namespace {

std::string as_string(const std::vector<uint8_t>& bytes) { return {bytes.begin(), bytes.end()}; }

TEST(TokenText, ByteLevelPiecesGiveTheirExactBytes) {
  // Ġ stands for a space, Ã for the byte C3, © for A9.
  const auto tokenizer = text::load_tokenizer(R"({
    "model": {"type": "BPE", "vocab": {"Ġhi": 0, "Ã": 1, "Ã©": 2}, "merges": []},
    "decoder": {"type": "ByteLevel"}})");
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  EXPECT_EQ(token_text(**tokenizer, 0).piece, " hi");
  EXPECT_EQ(token_text(**tokenizer, 1).piece, "\xEF\xBF\xBD");
  EXPECT_EQ(as_string(token_text(**tokenizer, 1).bytes), "\xC3");
  EXPECT_EQ(as_string(token_text(**tokenizer, 2).bytes), "\xC3\xA9");
}

TEST(TokenText, SentencePiecesKeepTheirSpaceAndFallbackBytesAreExact) {
  const auto tokenizer = text::load_tokenizer(R"({
    "model": {"type": "BPE", "vocab": {"▁hi": 0, "<0xC3>": 1}, "merges": [], "byte_fallback": true},
    "decoder": {"type": "Sequence", "decoders": [
      {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
      {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}})");
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  EXPECT_EQ(token_text(**tokenizer, 0).piece, " hi");
  EXPECT_EQ(as_string(token_text(**tokenizer, 0).bytes), " hi");
  EXPECT_EQ(as_string(token_text(**tokenizer, 1).bytes), "\xC3");
}

}  // namespace
}  // namespace cohort::runner
