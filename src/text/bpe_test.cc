#include "text/bpe.h"

#include <random>

#include <gtest/gtest.h>

#include "text/unicode.h"

namespace cohort::text {
namespace {

using Pieces = std::vector<std::string>;
using Merges = std::vector<std::pair<std::string, std::string>>;

Pieces characters_of(std::string_view text) {
  Pieces pieces;
  for (size_t at = 0; at < text.size(); at += pieces.back().size()) {
    pieces.emplace_back(text.substr(at, utf8_at(text, at).size));
  }
  return pieces;
}

// The definition, word for word: the earliest merge, at its leftmost place, until none applies.
Pieces merge_naively(Pieces pieces, const Merges& merges) {
  while (true) {
    size_t best_rank = merges.size();
    size_t best = 0;
    for (size_t i = 0; i + 1 < pieces.size(); ++i) {
      for (size_t rank = 0; rank < best_rank; ++rank) {
        if (merges[rank].first != pieces[i] || merges[rank].second != pieces[i + 1]) continue;
        best_rank = rank;
        best = i;
      }
    }
    if (best_rank == merges.size()) return pieces;
    pieces[best] += pieces[best + 1];
    pieces.erase(pieces.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

struct Fixture {
  Vocabulary vocabulary;
  std::unique_ptr<Bpe> bpe;

  Fixture(const Pieces& pieces, const Merges& merges, BpeOptions options = {}) {
    for (const std::string& piece : pieces) add(piece);
    for (const auto& [left, right] : merges) add(left + right);
    if (vocabulary.find("<unk>")) options.unknown = vocabulary.find("<unk>");
    bpe = std::make_unique<Bpe>(vocabulary, options, merges.size());
    for (const auto& [left, right] : merges) EXPECT_TRUE(bpe->add_merge(left, right).has_value());
  }

  void add(const std::string& piece) {
    if (vocabulary.find(piece)) return;
    EXPECT_TRUE(vocabulary.add(piece, vocabulary.size()).has_value());
  }

  Pieces encode(const std::string& text) const {
    std::vector<TokenId> ids;
    bpe->encode({text, {{0, text.size()}}}, ids);
    Pieces pieces;
    for (const TokenId id : ids) pieces.emplace_back(vocabulary.piece(id));
    return pieces;
  }
};

// Merges over few letters, so that they overlap in every way.
Merges random_merges(std::mt19937& random, Pieces pieces, size_t count) {
  Merges merges;
  while (merges.size() < count) {
    const std::string left = pieces[random() % pieces.size()];
    const std::string right = pieces[random() % pieces.size()];
    if (left.size() + right.size() > 12) continue;
    if (std::find(merges.begin(), merges.end(), std::pair(left, right)) != merges.end()) continue;
    merges.emplace_back(left, right);
    pieces.push_back(left + right);
  }
  return merges;
}

TEST(Bpe, ShortAndLongWordsAreMergedByTheDefinition) {
  std::mt19937 random(5);
  const Pieces letters = {"a", "b", "c", "é", "▁"};
  for (int round = 0; round < 40; ++round) {
    const Merges merges = random_merges(random, letters, 30);
    const Fixture fixture(letters, merges);
    for (const size_t length : {1, 2, 5, 39, 40, 41, 60, 300}) {
      std::string text;
      for (size_t i = 0; i < length; ++i) text += letters[random() % letters.size()];
      EXPECT_EQ(fixture.encode(text), merge_naively(characters_of(text), merges)) << text;
    }
  }
}

// One text is cut where no merge reaches across, and its parts are remembered.
TEST(Bpe, TextWithoutWordsIsCutOnlyWhereThatChangesNothing) {
  std::mt19937 random(6);
  const Pieces letters = {"a", "b", "c", "d", "e", "f", "g", "▁"};
  const Merges merges = random_merges(random, letters, 12);
  const Fixture fixture(letters, merges);
  for (int round = 0; round < 20; ++round) {
    std::string text;
    for (size_t i = 0; i < 500; ++i) text += letters[random() % letters.size()];
    EXPECT_EQ(fixture.encode(text), merge_naively(characters_of(text), merges));
  }
}

TEST(Bpe, UnknownCharactersGiveTheUnknownPieceOrNothing) {
  EXPECT_EQ(Fixture({"<unk>", "a"}, {}).encode("aéÜa"), (Pieces{"a", "<unk>", "<unk>", "a"}));
  EXPECT_EQ(Fixture({"<unk>", "a"}, {}, {.fuse_unk = true}).encode("aéÜaé"),
            (Pieces{"a", "<unk>", "a", "<unk>"}));
  EXPECT_EQ(Fixture({"a"}, {}).encode("aéa"), (Pieces{"a", "a"}));
}

TEST(Bpe, ByteFallbackSpellsACharacterWhenAllItsBytesArePieces) {
  const Pieces pieces = {"<unk>", "a", "<0xC3>", "<0xA9>"};
  const Fixture fixture(pieces, {}, {.byte_fallback = true});
  EXPECT_EQ(fixture.encode("aé"), (Pieces{"a", "<0xC3>", "<0xA9>"}));
  EXPECT_EQ(fixture.encode("aü"), (Pieces{"a", "<unk>"}));
}

TEST(Bpe, AWholeWordThatIsAPieceNeedsNoMergesWhenTheyAreIgnored) {
  const Merges merges = {{"a", "b"}};
  EXPECT_EQ(Fixture({"a", "b", "c", "abc"}, merges).encode("abc"), (Pieces{"ab", "c"}));
  EXPECT_EQ(Fixture({"a", "b", "c", "abc"}, merges, {.ignore_merges = true}).encode("abc"),
            Pieces{"abc"});
}

TEST(Bpe, BytesAreSpelledInTheirAlphabet) {
  const Fixture fixture({"Ã", "©", "Ġ", "a"}, {{"Ã", "©"}, {"Ġ", "a"}}, {.bytes = true});
  EXPECT_EQ(fixture.encode(" aé"), (Pieces{"Ġa", "Ã©"}));
}

TEST(Bpe, AMegabyteOfOneLetterIsNoTrouble) {
  const Fixture fixture({"a"}, {{"a", "a"}, {"aa", "aa"}, {"aaaa", "aaaa"}});
  EXPECT_EQ(fixture.encode(std::string(1 << 20, 'a')).size(), (1u << 20) / 8);
}

TEST(Bpe, AMergeOfUnknownPiecesIsAnError) {
  Vocabulary vocabulary;
  ASSERT_TRUE(vocabulary.add("a", 0).has_value());
  Bpe bpe(vocabulary, {}, 1);
  const auto added = bpe.add_merge("a", "a");
  ASSERT_FALSE(added.has_value());
  EXPECT_EQ(added.error().message, "no such piece: 'aa'");
}

}  // namespace
}  // namespace cohort::text
