#include "text/normalizer.h"

#include <gtest/gtest.h>

#include "base/json.h"
#include "text/charsmap.h"

namespace cohort::text {
namespace {

std::string run(const char* config, std::string text) {
  const auto normalizer = Normalizer::parse(*parse_json(config));
  EXPECT_TRUE(normalizer.has_value()) << normalizer.error().message;
  return normalizer->run({std::move(text), {}}).text;
}

TEST(Normalizer, DoesItsStepsInOrder) {
  EXPECT_EQ(run(R"({"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},
                    {"type":"Replace","pattern":{"String":" "},"content":"▁"}]})",
                "a b"),
            "▁a▁b");
  EXPECT_EQ(run("null", "a b"), "a b");
}

TEST(Normalizer, PrependLeavesEmptyTextAlone) {
  EXPECT_EQ(run(R"({"type":"Prepend","prepend":"▁"})", ""), "");
}

TEST(Normalizer, ReplacesStringsAndPatterns) {
  EXPECT_EQ(run(R"({"type":"Replace","pattern":{"Regex":" {2,}"},"content":"_"})", "a  b   c d"),
            "a_b_c d");
  EXPECT_EQ(run(R"({"type":"Replace","pattern":{"String":""},"content":"_"})", "ab"), "ab");
}

TEST(Normalizer, StripsTheSidesItIsTold) {
  EXPECT_EQ(run(R"({"type":"Strip","strip_left":true,"strip_right":true})", " \u3000a b\n "),
            "a b");
  EXPECT_EQ(run(R"({"type":"Strip","strip_left":false,"strip_right":true})", " a "), " a");
  EXPECT_EQ(run(R"({"type":"Strip","strip_left":true,"strip_right":true})", "  "), "");
}

TEST(Normalizer, LowersAndStripsAccents) {
  EXPECT_EQ(
      run(R"({"type":"Sequence","normalizers":[{"type":"NFD"},{"type":"StripAccents"},{"type":"Lowercase"}]})",
          "CAFÉ Ångström"),
      "cafe angstrom");
}

TEST(Normalizer, NamesWhatItDoesNotKnow) {
  for (const auto* config : {R"({"type":"Sorcery"})", R"({"type":"Sequence"})", R"([])",
                             R"({"type":"Precompiled","precompiled_charsmap":"!!"})",
                             R"({"type":"Precompiled","precompiled_charsmap":"/////w=="})"}) {
    EXPECT_FALSE(Normalizer::parse(*parse_json(config)).has_value()) << config;
  }
}

std::string to_base64(const std::string& bytes) {
  constexpr auto kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  uint32_t buffer = 0;
  int bits = 0;
  for (const char c : bytes) {
    buffer = (buffer << 8 | static_cast<unsigned char>(c)) & 0xFFFF;
    for (bits += 8; bits >= 6; bits -= 6) out += kAlphabet[buffer >> (bits - 6) & 63];
  }
  if (bits > 0) out += kAlphabet[buffer << (6 - bits) & 63];
  return out;
}

// A map with one sequence, "A", that becomes "xy". Units: see the double array's bits in charsmap.cc.
std::string one_letter_map(uint32_t replacement_offset) {
  std::vector<uint32_t> units(1024);
  units[0] = 256u << 10;                          // the root's children are at 256 ^ label
  units[256 ^ 'A'] = 'A' | 1u << 8 | 512u << 10;  // has a leaf, at 512 ^ its own place
  units[(256 ^ 'A') ^ 512] = 1u << 31 | replacement_offset;
  const uint32_t size_bytes = 4096;
  std::string blob(reinterpret_cast<const char*>(&size_bytes), 4);
  blob.append(reinterpret_cast<const char*>(units.data()), size_bytes);
  blob.append("xy\0", 3);
  return to_base64(blob);
}

TEST(CharsMap, ReplacesWhatItKnows) {
  const auto map = CharsMap::parse(one_letter_map(0));
  ASSERT_TRUE(map.has_value()) << map.error().message;
  EXPECT_EQ(map->run({"aAé的A", {}}).text, "axyé的xy");
}

TEST(CharsMap, AnOffsetBeyondTheBlobIsHarmless) {
  const auto map = CharsMap::parse(one_letter_map(1000));
  ASSERT_TRUE(map.has_value());
  EXPECT_EQ(map->run({"aA", {}}).text, "a");
}

}  // namespace
}  // namespace cohort::text
