#include "text/unigram.h"

#include <map>
#include <random>

#include <gtest/gtest.h>

namespace cohort::text {
namespace {

struct Fixture {
  Vocabulary vocabulary;
  std::unique_ptr<Unigram> model;

  Fixture(const std::vector<std::pair<std::string, double>>& pieces, UnigramOptions options) {
    std::vector<double> scores;
    for (const auto& [piece, score] : pieces) {
      EXPECT_TRUE(vocabulary.add(piece, vocabulary.size()).has_value());
      scores.push_back(score);
    }
    model = std::make_unique<Unigram>(vocabulary, scores, options);
  }

  std::vector<std::string> encode(const std::string& text) const {
    std::vector<TokenId> ids;
    model->encode({text, {{0, text.size()}}}, ids);
    std::vector<std::string> pieces;
    for (const TokenId id : ids) pieces.emplace_back(vocabulary.piece(id));
    return pieces;
  }
};

using Pieces = std::vector<std::string>;

// The best sum of scores over all ways to cut the text.
double best_by_trying(const std::map<std::string, double>& scores, const std::string& text) {
  if (text.empty()) return 0;
  double best = -1e9;
  for (size_t size = 1; size <= text.size(); ++size) {
    const auto found = scores.find(text.substr(0, size));
    if (found != scores.end())
      best = std::max(best, found->second + best_by_trying(scores, text.substr(size)));
  }
  return best;
}

TEST(Unigram, FindsTheCutWithTheBestScore) {
  std::mt19937 random(9);
  std::map<std::string, double> scores = {{"a", -3}, {"b", -4}, {"c", -5}};
  while (scores.size() < 30) {
    std::string piece;
    for (size_t i = 2 + random() % 3; i > 0; --i) piece += static_cast<char>('a' + random() % 3);
    scores.emplace(piece, -1.0 - static_cast<double>(random() % 10000) / 1000);
  }
  const Fixture fixture({scores.begin(), scores.end()}, {});
  for (int round = 0; round < 200; ++round) {
    std::string text;
    for (size_t i = random() % 14; i > 0; --i) text += static_cast<char>('a' + random() % 3);
    double sum = 0;
    std::string joined;
    for (const std::string& piece : fixture.encode(text)) {
      sum += scores.at(piece);
      joined += piece;
    }
    EXPECT_EQ(joined, text);
    EXPECT_NEAR(sum, best_by_trying(scores, text), 1e-9) << text;
  }
}

TEST(Unigram, UnknownCharactersInARowAreOneUnknownPiece) {
  const Fixture fixture({{"<unk>", 0}, {"a", -1}}, {.unknown = 0});
  EXPECT_EQ(fixture.encode("aéüa的"), (Pieces{"a", "<unk>", "a", "<unk>"}));
}

TEST(Unigram, ByteFallbackSpellsUnknownCharacters) {
  const Fixture fixture({{"<unk>", 0}, {"a", -1}, {"<0xC3>", -9}, {"<0xA9>", -9}},
                        {.unknown = 0, .byte_fallback = true});
  EXPECT_EQ(fixture.encode("aéa"), (Pieces{"a", "<0xC3>", "<0xA9>", "a"}));
  EXPECT_EQ(fixture.encode("ü"), Pieces{"<unk>"});
}

}  // namespace
}  // namespace cohort::text
