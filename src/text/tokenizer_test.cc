// Whole tokenizers: what files may contain, spans, and streams.
#include "text/tokenizer.h"

#include <random>

#include <gtest/gtest.h>

#include "base/json.h"
#include "text/unicode.h"

namespace cohort::text {
namespace {

using Ids = std::vector<TokenId>;

Json added_token(TokenId id, const char* content, bool special = true) {
  return {{"id", id}, {"content", content}, {"special", special}, {"normalized", false}};
}

// Letters, a space, and a few merges; <s> is 100.
Json small_tokenizer() {
  Json vocab = Json::object();
  for (const char* piece : {"a", "b", "c", " ", "<", "s", ">", "ab", "abc", " a"})
    vocab[piece] = vocab.size();
  return {{"added_tokens", Json::array({added_token(100, "<s>")})},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", Json::array({"a b", "ab c"})}}},
          {"decoder", {{"type", "Fuse"}}}};
}

std::unique_ptr<Tokenizer> load(const Json& document) {
  auto tokenizer = load_tokenizer(document.dump());
  EXPECT_TRUE(tokenizer.has_value()) << tokenizer.error().message;
  return tokenizer ? std::move(*tokenizer) : nullptr;
}

std::string error_of(const Json& document) {
  const auto tokenizer = load_tokenizer(document.dump());
  if (tokenizer) return "no error";
  EXPECT_TRUE(tokenizer.error().code == Code::kDataLoss ||
              tokenizer.error().code == Code::kUnsupported);
  return tokenizer.error().message;
}

// All 256 bytes as pieces, as byte-level BPE writes them.
Json byte_tokenizer() {
  Json vocab = Json::object();
  char32_t next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const bool itself =
        (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    std::string piece;
    append_utf8(piece, itself ? byte : next++);
    vocab[piece] = byte;
  }
  return {{"added_tokens", Json::array({added_token(300, "<s>")})},
          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", Json::array()}}},
          {"decoder", {{"type", "ByteLevel"}}}};
}

TEST(Tokenizer, KnowsItsPieces) {
  const auto tokenizer = load(small_tokenizer());
  EXPECT_EQ(tokenizer->vocab_size(), 101);
  EXPECT_EQ(tokenizer->token_to_id("abc"), 8);
  EXPECT_EQ(tokenizer->token_to_id("<s>"), 100);
  EXPECT_FALSE(tokenizer->token_to_id("nope").has_value());
  EXPECT_EQ(tokenizer->id_to_token(8), "abc");
  EXPECT_EQ(tokenizer->id_to_token(50), "");
  EXPECT_EQ(tokenizer->id_to_token(-5), "");
  EXPECT_TRUE(tokenizer->is_special(100));
  EXPECT_FALSE(tokenizer->is_special(8));
  EXPECT_FALSE(tokenizer->is_special(1 << 30));
}

TEST(Tokenizer, EncodesAndDecodes) {
  const auto tokenizer = load(small_tokenizer());
  EXPECT_EQ(tokenizer->encode("abc<s>ab", false), (Ids{8, 100, 7}));
  EXPECT_EQ(tokenizer->decode(Ids{8, 100, 7}, false), "abc<s>ab");
  EXPECT_EQ(tokenizer->decode(Ids{8, 100, 7, 12345, -1}, true), "abcab");
}

TEST(Tokenizer, MergesMayBePairsOfPieces) {
  Json document = small_tokenizer();
  document["model"]["merges"] = Json::array({Json::array({"a", "b"}), Json::array({" ", "a"})});
  EXPECT_EQ(load(document)->encode(" ab a", false), (Ids{3, 7, 9}));
}

TEST(Tokenizer, PutsAroundTheTextWhatItsTemplateSays) {
  Json document = small_tokenizer();
  document["post_processor"] = *parse_json(R"({"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "<s>"}}],
      "special_tokens": {"<s>": {"ids": [100]}}})");
  EXPECT_EQ(load(document)->encode("a", true), (Ids{100, 0, 100}));
  EXPECT_EQ(load(document)->encode("a", false), Ids{0});
  EXPECT_EQ(load(document)->encode("", true), (Ids{100, 100}));
  const Json inner = document["post_processor"];
  document["post_processor"] =
      *parse_json(R"({"type": "Sequence", "processors": [{"type": "ByteLevel"}]})");
  document["post_processor"]["processors"].push_back(inner);
  EXPECT_EQ(load(document)->encode("a", true), (Ids{100, 0, 100}));
  document["post_processor"] =
      *parse_json(R"({"type": "RobertaProcessing", "cls": ["<s>", 100], "sep": ["<s>", 100]})");
  EXPECT_EQ(load(document)->encode("a", true), (Ids{100, 0, 100}));
}

TEST(Spans, UntrustedTextNeverBecomesASpecialToken) {
  const auto tokenizer = load(small_tokenizer());
  const Ids spelled = {4, 5, 6};
  EXPECT_EQ(tokenizer->encode(std::vector<TextSpan>{{"<s>", false}}), spelled);
  EXPECT_EQ(tokenizer->encode(std::vector<TextSpan>{{"<s>", true}}), Ids{100});
  EXPECT_EQ(tokenizer->encode(std::vector<TextSpan>{{"<", true}, {"s>", false}}), spelled);
  EXPECT_EQ(tokenizer->encode(std::vector<TextSpan>{{"<s", false}, {">", true}}), spelled);
  EXPECT_EQ(tokenizer->encode(std::vector<TextSpan>{{"<", true}, {"s>", true}}), Ids{100});
}

TEST(Spans, ACutDoesNotChangeHowTextIsSplit) {
  const auto tokenizer = load(small_tokenizer());
  EXPECT_EQ(tokenizer->encode(std::vector<TextSpan>{{"a", true}, {"b", false}, {"c", true}}),
            Ids{8});
}

TEST(Spans, TheModelCannotSpellASpecialPieceOfItsOwnVocabulary) {
  Json document = small_tokenizer();
  document["model"]["vocab"]["<s"] = 98;
  document["model"]["vocab"]["<s>"] = 100;
  document["model"]["merges"] = Json::array({"< s", "<s >"});
  EXPECT_EQ(load(document)->encode(std::vector<TextSpan>{{"<s>", false}}), (Ids{98, 6}));
  EXPECT_EQ(load(document)->encode(std::vector<TextSpan>{{"<s>", true}}), Ids{100});
  document["model"]["ignore_merges"] = true;
  EXPECT_EQ(load(document)->encode(std::vector<TextSpan>{{"<s>", false}}), (Ids{98, 6}));
}

TEST(Spans, TrustSurvivesTheNormalizer) {
  Json document = small_tokenizer();
  document["added_tokens"][0]["normalized"] = true;
  document["normalizer"] = {{"type", "Replace"}, {"pattern", {{"String", "cc"}}}, {"content", "a"}};
  const auto tokenizer = load(document);
  EXPECT_EQ(
      tokenizer->encode(std::vector<TextSpan>{{"cc", false}, {"<s>", true}, {"cc<s>", false}}),
      (Ids{0, 100, 0, 4, 5, 6}));
}

TEST(Spans, AnUntrustedAccentCannotMakeAMarker) {
  Json document = small_tokenizer();
  document["added_tokens"][0] = added_token(100, "<é>");
  document["added_tokens"][0]["normalized"] = true;
  document["normalizer"] = {{"type", "NFC"}};
  document["model"]["vocab"]["é"] = 50;
  const auto tokenizer = load(document);
  EXPECT_EQ(tokenizer->encode(std::vector<TextSpan>{{"<e\u0301>", true}}), Ids{100});
  EXPECT_EQ(tokenizer->encode(std::vector<TextSpan>{{"<e", true}, {"\u0301", false}, {">", true}}),
            (Ids{4, 50, 6}));
}

TEST(Broken, FilesAreRefusedByName) {
  const auto with = [](auto change) {
    Json document = small_tokenizer();
    change(document);
    return error_of(document);
  };
  EXPECT_EQ(with([](Json& d) { d["model"]["merges"].push_back("a z"); }),
            "tokenizer.json: model.merges[2] 'a z': no such piece: 'z'");
  EXPECT_EQ(with([](Json& d) { d["model"]["merges"].push_back("ab ab"); }),
            "tokenizer.json: model.merges[2] 'ab ab': no such piece: 'abab'");
  EXPECT_EQ(with([](Json& d) { d["model"]["merges"].push_back("a"); }),
            "tokenizer.json: model.merges[2]: expected two pieces");
  EXPECT_EQ(with([](Json& d) { d["model"].erase("vocab"); }),
            "tokenizer.json: model.vocab is missing");
  EXPECT_EQ(with([](Json& d) { d["model"].erase("merges"); }),
            "tokenizer.json: model.merges is missing");
  EXPECT_EQ(with([](Json& d) { d.erase("model"); }), "tokenizer.json: 'model' is missing");
  EXPECT_EQ(with([](Json& d) { d["model"]["vocab"]["x"] = 0; }),
            "tokenizer.json: model.vocab: id 0 stands for both 'a' and 'x'");
  EXPECT_EQ(with([](Json& d) { d["model"]["vocab"]["x"] = -3; }),
            "tokenizer.json: model.vocab: piece 'x' has id -3; ids go from 0 to 4194303");
  EXPECT_EQ(with([](Json& d) { d["model"]["vocab"]["x"] = 2000000000; }),
            "tokenizer.json: model.vocab: piece 'x' has id 2000000000; ids go from 0 to 4194303");
  EXPECT_EQ(with([](Json& d) { d["model"]["vocab"]["x"] = "y"; }),
            "tokenizer.json: model.vocab: the id of 'x' is no integer");
  EXPECT_EQ(with([](Json& d) { d["model"]["type"] = "Oracle"; }),
            "tokenizer.json: model type 'Oracle' is not known; BPE and Unigram are");
  EXPECT_EQ(with([](Json& d) { d["model"]["unk_token"] = "<unk>"; }),
            "tokenizer.json: model.unk_token '<unk>' is not in the vocabulary");
  EXPECT_EQ(with([](Json& d) { d["added_tokens"].push_back(added_token(3, "<x>")); }),
            "tokenizer.json: added_tokens[1]: '<x>' has id 3, which is ' ' in model.vocab");
  EXPECT_EQ(with([](Json& d) { d["added_tokens"].push_back(added_token(9, "abc")); }),
            "tokenizer.json: added_tokens[1]: 'abc' has id 9, but 8 in model.vocab");
  EXPECT_EQ(with([](Json& d) { d["added_tokens"].push_back(7); }),
            "tokenizer.json: added_tokens[1]: expected an object with id and content");
  EXPECT_EQ(with([](Json& d) {
              d["decoder"] = {{"type", "Sorcery"}};
            }),
            "tokenizer.json: decoder type 'Sorcery' is not known");
}

TEST(Broken, WhatIsNoJsonIsRefused) {
  const std::string whole = small_tokenizer().dump();
  for (size_t size = 0; size < whole.size(); size += 7) {
    EXPECT_FALSE(load_tokenizer(std::string_view(whole).substr(0, size)).has_value()) << size;
  }
  EXPECT_FALSE(load_tokenizer("[]").has_value());
  EXPECT_FALSE(load_tokenizer("{\"model\": 1}").has_value());
}

// A file damaged anywhere is refused or works; it never does harm (the sanitizers watch).
TEST(Broken, RandomDamageDoesNoHarm) {
  Json whole = byte_tokenizer();
  whole["normalizer"] = {{"type", "NFC"}};
  for (const std::string& text : {small_tokenizer().dump(), whole.dump()}) {
    std::mt19937 random(11);
    for (int round = 0; round < 300; ++round) {
      std::string damaged = text;
      for (int i = 0; i < 3; ++i) damaged[random() % damaged.size()] = "\"{}[]0:,a-"[random() % 11];
      const auto tokenizer = load_tokenizer(damaged);
      if (!tokenizer) continue;
      const auto ids = (*tokenizer)->encode("abc <s> a\u0301 \xFF", true);
      (*tokenizer)->decode(ids, false);
    }
  }
}

TEST(HostileText, IsTokenizedAllTheSame) {
  const auto tokenizer = load(byte_tokenizer());
  for (const std::string& text :
       {std::string(1 << 20, 'a'), std::string(1 << 20, ' '), std::string(1 << 20, '\n'),
        std::string(1 << 20, '\xFF'), std::string(1 << 20, '<')}) {
    const auto ids = tokenizer->encode(text, true);
    const size_t bytes_each = text[0] == '\xFF' ? 3 : 1;  // U+FFFD
    EXPECT_EQ(ids.size(), text.size() * bytes_each);
  }
}

TEST(Detokenizer, GivesWholeCharactersOnly) {
  const auto tokenizer = load(byte_tokenizer());
  const std::string text = "héllo 的 😀!";
  Detokenizer stream(*tokenizer);
  std::string joined;
  for (const TokenId id : tokenizer->encode(text, false)) {
    const std::string part = stream.push(id);
    EXPECT_TRUE(is_valid_utf8(part));
    joined += part;
  }
  EXPECT_EQ(joined, text);
  EXPECT_EQ(stream.finish(), "");
}

TEST(Detokenizer, AnUnfinishedCharacterIsReplacedAtTheEnd) {
  const auto tokenizer = load(byte_tokenizer());
  Detokenizer stream(*tokenizer);
  EXPECT_EQ(stream.push('a'), "a");
  EXPECT_EQ(stream.push(0xF0), "");
  EXPECT_EQ(stream.push(0x9F), "");
  EXPECT_EQ(stream.finish(), "\uFFFD");
}

TEST(Detokenizer, SkipsSpecialTokensUnlessAskedNotTo) {
  const auto tokenizer = load(byte_tokenizer());
  Detokenizer without(*tokenizer);
  EXPECT_EQ(without.push(300), "");
  Detokenizer with(*tokenizer, false);
  EXPECT_EQ(with.push(300), "<s>");
}

TEST(Detokenizer, GivesWhatDecodeGives) {
  const auto tokenizer = load(byte_tokenizer());
  std::mt19937 random(4);
  for (int round = 0; round < 200; ++round) {
    Ids ids;
    for (size_t i = random() % 40; i > 0; --i) ids.push_back(static_cast<TokenId>(random() % 302));
    Detokenizer stream(*tokenizer);
    std::string joined;
    for (const TokenId id : ids) joined += stream.push(id);
    joined += stream.finish();
    EXPECT_EQ(joined, tokenizer->decode(ids, true));
  }
}

}  // namespace
}  // namespace cohort::text
