#include "runner/generation_defaults.h"

#include <gtest/gtest.h>

#include "runner/no_tokenizer.h"

namespace cohort::runner {
namespace {

class NamedEnd : public text::Tokenizer {
 public:
  std::vector<text::TokenId> encode(std::string_view, bool) const override { return {}; }
  std::vector<text::TokenId> encode(std::span<const text::TextSpan>) const override { return {}; }
  std::string decode(std::span<const text::TokenId>, bool) const override { return ""; }
  int32_t vocab_size() const override { return 100; }
  std::optional<text::TokenId> token_to_id(std::string_view piece) const override {
    return piece == "<end>" ? std::optional(99) : std::nullopt;
  }
  std::string id_to_token(text::TokenId) const override { return ""; }
  bool is_special(text::TokenId) const override { return false; }
  const text::Decoder& decoder() const override { return decoder_; }

 private:
  text::Decoder decoder_;
};

GenerationDefaults read(std::string generation_config, std::string tokenizer_config = "",
                        const Json& config = Json::object()) {
  const ModelFiles files{.tokenizer_config = std::move(tokenizer_config),
                         .generation_config = std::move(generation_config)};
  return read_generation_defaults(files, config, NamedEnd());
}

TEST(GenerationDefaults, AllFilesTogetherSayWhereAnAnswerEnds) {
  const auto defaults =
      read(R"({"eos_token_id": [7, 3]})", R"({"eos_token": {"content": "<end>"}})",
           Json{{"eos_token_id", 5}, {"text_config", {{"eos_token_id", 3}}}});
  EXPECT_EQ(defaults.eos_tokens, (std::vector<text::TokenId>{3, 5, 7, 99}));
  EXPECT_EQ(read("", R"({"eos_token": "<end>"})").eos_tokens, std::vector<text::TokenId>{99});
  EXPECT_TRUE(
      read("", R"({"eos_token": null})", Json{{"eos_token_id", nullptr}}).eos_tokens.empty());
}

TEST(GenerationDefaults, SamplingIsTheModelMakersAdvice) {
  const auto defaults =
      read(R"({"temperature": 0.6, "top_p": 0.95, "top_k": 20, "repetition_penalty": 1.05})");
  EXPECT_FLOAT_EQ(defaults.sampling.temperature, 0.6f);
  EXPECT_FLOAT_EQ(defaults.sampling.top_p, 0.95f);
  EXPECT_EQ(defaults.sampling.top_k, 20);
  EXPECT_FLOAT_EQ(defaults.sampling.repetition_penalty, 1.05f);
  EXPECT_EQ(read(R"({"do_sample": false, "temperature": 0.6})").sampling.temperature, 0.0f);
  EXPECT_EQ(read("").sampling, Sampling{});
}

TEST(GenerationDefaults, NonsenseIsLeftOut) {
  EXPECT_EQ(read("{").sampling, Sampling{});
  EXPECT_EQ(read("[1]").sampling, Sampling{});
  EXPECT_EQ(read(R"({"temperature": "hot"})").sampling, Sampling{});
  EXPECT_EQ(read(R"({"top_p": 0, "top_k": -1, "temperature": -3})").sampling, Sampling{});
  EXPECT_TRUE(read(R"({"eos_token_id": ["a", {}]})").eos_tokens.empty());
}

TEST(GenerationDefaults, ARequestsOwnValuesWin) {
  const Sampling defaults = read(R"({"temperature": 0.6, "top_k": 20})").sampling;
  const Sampling sampling = RequestedSampling{.temperature = 1.5f, .seed = 4}.over(defaults);
  EXPECT_EQ(sampling.temperature, 1.5f);
  EXPECT_EQ(sampling.top_k, 20);
  EXPECT_EQ(sampling.seed, 4u);
}

}  // namespace
}  // namespace cohort::runner
