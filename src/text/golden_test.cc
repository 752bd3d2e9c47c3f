// Tokenizers of real models against ids that reference implementations gave.
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include <gtest/gtest.h>

#include "base/json.h"
#include "text/tokenizer.h"

namespace cohort::text {
namespace {

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::unique_ptr<Tokenizer> load(const std::filesystem::path& path) {
  auto tokenizer = load_tokenizer(read_file(path));
  EXPECT_TRUE(tokenizer.has_value()) << tokenizer.error().message;
  return tokenizer ? std::move(*tokenizer) : nullptr;
}

const std::filesystem::path kSource = COHORT_SOURCE_DIR;

TEST(GoldenTokenizer, StoriesEncodesAndDecodesAsItsReference) {
  const auto folder = kSource / "../shared/fixtures/stories260K";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << folder << " is not there";
  const auto tokenizer = load(folder / "tokenizer.json");
  ASSERT_NE(tokenizer, nullptr);
  const Json golden = *parse_json(read_file(folder / "tokenizer_golden.json"));
  ASSERT_FALSE(golden.empty());
  for (const Json& item : golden) {
    const auto text = item["text"].get<std::string>();
    const auto ids = item["ids"].get<std::vector<TokenId>>();
    EXPECT_EQ(tokenizer->encode(text, true), ids) << text;
    EXPECT_EQ(tokenizer->decode(ids, true), item["decoded"].get<std::string>()) << text;
  }
}

TEST(GoldenTokenizer, TheDemoModelEncodesAndDecodesAsItsReference) {
  const auto golden_path = kSource / "tests/data/demo/golden.json";
  const auto tokenizer_path = kSource / "resources/demo/tokenizer.json";
  if (!std::filesystem::exists(golden_path)) GTEST_SKIP() << golden_path << " is not there";
  const auto tokenizer = load(tokenizer_path);
  ASSERT_NE(tokenizer, nullptr);
  const Json golden = *parse_json(read_file(golden_path));
  ASSERT_FALSE(golden.empty());
  for (const Json& item : golden) {
    for (const auto& [text_key, ids_key] :
         {std::pair("prompt", "prompt_ids"), std::pair("expected", "expected_ids")}) {
      const auto text = item[text_key].get<std::string>();
      const auto ids = item[ids_key].get<std::vector<TokenId>>();
      EXPECT_EQ(tokenizer->encode(text, false), ids) << text;
      EXPECT_EQ(tokenizer->decode(ids, false), text);
    }
  }
}

// Made by tests/oracle/tiny.mjs with a reference implementation.
TEST(GoldenTokenizer, EveryFeatureDoesWhatTheReferenceDoes) {
  const Json golden = *parse_json(read_file(kSource / "tests/data/tokenizers/golden.json"));
  ASSERT_GT(golden["pipelines"].size(), 15u);
  for (const Json& pipeline : golden["pipelines"]) {
    SCOPED_TRACE(pipeline["name"].get<std::string>());
    Json document = pipeline["config"];
    document["model"] = golden["models"][pipeline["model"].get<std::string>()];
    const auto tokenizer = load_tokenizer(document.dump());
    ASSERT_TRUE(tokenizer.has_value()) << tokenizer.error().message;
    for (const Json& item : pipeline["cases"]) {
      const auto text = item["text"].get<std::string>();
      const auto ids = item["ids"].get<std::vector<TokenId>>();
      EXPECT_EQ((*tokenizer)->encode(text, false), ids) << Json(text);
      EXPECT_EQ((*tokenizer)->decode(ids, false), item["decoded"].get<std::string>()) << Json(text);
    }
  }
}

}  // namespace
}  // namespace cohort::text
