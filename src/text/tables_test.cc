// The flat tables: vocabulary, merges, trie.
#include <map>
#include <random>

#include <gtest/gtest.h>

#include "text/merge_table.h"
#include "text/trie.h"
#include "text/vocabulary.h"

namespace cohort::text {
namespace {

TEST(Vocabulary, FindsPiecesAndIdsBothWays) {
  Vocabulary vocabulary;
  for (TokenId id = 0; id < 5000; ++id) {
    ASSERT_TRUE(vocabulary.add("piece" + std::to_string(id), id * 3).has_value());
  }
  EXPECT_EQ(vocabulary.size(), 4999 * 3 + 1);
  for (TokenId id = 0; id < 5000; ++id) {
    EXPECT_EQ(vocabulary.find("piece" + std::to_string(id)), id * 3);
    EXPECT_EQ(vocabulary.piece(id * 3), "piece" + std::to_string(id));
    EXPECT_FALSE(vocabulary.contains(id * 3 + 1));
  }
  EXPECT_FALSE(vocabulary.find("piece").has_value());
  EXPECT_EQ(vocabulary.piece(-1), "");
  EXPECT_EQ(vocabulary.piece(1 << 30), "");
}

TEST(Vocabulary, RefusesWhatIsTakenOrAbsurd) {
  Vocabulary vocabulary;
  ASSERT_TRUE(vocabulary.add("a", 1).has_value());
  EXPECT_EQ(vocabulary.add("a", 2).error().message, "piece 'a' has two ids, 1 and 2");
  EXPECT_EQ(vocabulary.add("b", 1).error().message, "id 1 stands for both 'a' and 'b'");
  EXPECT_FALSE(vocabulary.add("c", -1).has_value());
  EXPECT_FALSE(vocabulary.add("c", int64_t{1} << 40).has_value());
}

TEST(Vocabulary, HiddenPiecesStillHaveTheirText) {
  Vocabulary vocabulary;
  ASSERT_TRUE(vocabulary.add("<s>", 1).has_value());
  vocabulary.hide(1);
  EXPECT_FALSE(vocabulary.find("<s>").has_value());
  EXPECT_EQ(vocabulary.find_hidden_too("<s>"), 1);
  EXPECT_EQ(vocabulary.piece(1), "<s>");
}

TEST(MergeTable, AgreesWithAMap) {
  std::mt19937 random(3);
  constexpr size_t kCount = 3000;
  MergeTable table(kCount);
  std::map<std::pair<TokenId, TokenId>, MergeTable::Rank> expected;
  for (MergeTable::Rank rank = 0; rank < kCount; ++rank) {
    const auto left = static_cast<TokenId>(random() % 100);
    const auto right = static_cast<TokenId>(random() % 100);
    table.add(left, right, static_cast<TokenId>(rank) + 1000);
    expected[{left, right}] = rank;
  }
  for (TokenId left = 0; left < 101; ++left) {
    for (TokenId right = 0; right < 101; ++right) {
      const auto found = expected.find({left, right});
      const auto rank = found == expected.end() ? MergeTable::kNone : found->second;
      ASSERT_EQ(table.rank(left, right), rank);
      if (rank == MergeTable::kNone) continue;
      EXPECT_EQ(table.merged(rank), static_cast<TokenId>(rank) + 1000);
    }
  }
}

TEST(Trie, FindsAllStringsThatBeginAtAPlace) {
  const Trie trie({{"abc", 0}, {"a", 1}, {"ab", 2}, {"b", 3}, {"\xFF", 4}, {"ab", 5}});
  const auto found = [&](std::string_view text, size_t position) {
    std::vector<std::pair<size_t, int32_t>> result;
    trie.for_each_prefix(text, position,
                         [&](size_t end, int32_t value) { result.emplace_back(end, value); });
    return result;
  };
  using Found = std::vector<std::pair<size_t, int32_t>>;
  EXPECT_EQ(found("xabcd", 1), (Found{{2, 1}, {3, 2}, {4, 0}}));
  EXPECT_EQ(found("xabcd", 2), (Found{{3, 3}}));
  EXPECT_EQ(found("xabcd", 0), Found{});
  EXPECT_EQ(found("a\xFF", 1), (Found{{2, 4}}));
  EXPECT_TRUE(trie.any_begins_with('b'));
  EXPECT_FALSE(trie.any_begins_with('c'));
}

}  // namespace
}  // namespace cohort::text
