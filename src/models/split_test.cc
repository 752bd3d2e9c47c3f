#include "models/split.h"

#include <gtest/gtest.h>

namespace cohort::models {
namespace {

Shard rank_of(int32_t rank, std::vector<double> fractions) {
  return Shard{.rank = rank, .fractions = std::move(fractions)};
}

TEST(Split, IsInProportionAndCoversAll) {
  EXPECT_EQ(split(10, std::vector{0.5, 0.3, 0.2}), (std::vector<Range>{{0, 5}, {5, 3}, {8, 2}}));
  EXPECT_EQ(split(7, std::vector{1.0}), (std::vector<Range>{{0, 7}}));
}

TEST(Split, NobodyGoesWithoutWhileThereIsEnough) {
  EXPECT_EQ(split(3, std::vector{0.98, 0.01, 0.01}), (std::vector<Range>{{0, 1}, {1, 1}, {2, 1}}));
  EXPECT_EQ(split(4, std::vector{0.01, 0.01, 0.98}), (std::vector<Range>{{0, 1}, {1, 1}, {2, 2}}));
}

TEST(Split, CoversAllForAnyFractions) {
  for (int64_t units = 0; units < 40; ++units) {
    for (int ranks = 1; ranks <= 9; ++ranks) {
      std::vector<double> fractions;
      const double sum = ranks * (ranks + 1) / 2.0;
      for (int i = 1; i <= ranks; ++i) fractions.push_back(i / sum);
      int64_t next = 0;
      for (const Range& range : split(units, fractions)) {
        ASSERT_EQ(range.first, next);
        ASSERT_GE(range.count, units >= ranks ? 1 : 0);
        next = range.end();
      }
      ASSERT_EQ(next, units);
    }
  }
}

TEST(Share, MovesInWholeSteps) {
  const Shard shard = rank_of(1, {0.4, 0.6});
  EXPECT_EQ(*share_of(shard, 256, 64, "columns"), (Range{128, 128}));
  const auto few = share_of(rank_of(0, {0.2, 0.2, 0.2, 0.2, 0.2}), 256, 64, "feed-forward columns");
  ASSERT_FALSE(few);
  EXPECT_EQ(few.error().message,
            "256 feed-forward columns move in steps of 64: too few for 5 ranks");
}

TEST(Share, PlainColumnsMoveInStepsThatDivideThem) {
  EXPECT_EQ(column_step({}, 256, 64), 64);
  EXPECT_EQ(column_step({}, 256, 0), 32);
  EXPECT_EQ(column_step({}, 172, 0), 4);
  EXPECT_EQ(column_step({}, 33, 0), 1);
}

TEST(Share, AFreeStepShrinksUntilAllRanksHaveOne) {
  const Shard shard = rank_of(0, std::vector<double>(8, 0.125));
  EXPECT_EQ(free_step(shard, 256, 64), 32);
  EXPECT_EQ(free_step(shard, 64, 64), 8);
  EXPECT_EQ(free_step(shard, 6, 64), 1);
}

TEST(Heads, StayWithTheirKvHead) {
  const HeadSplit heads{.heads = 32, .kv_heads = 8, .value_dim = 64, .group_size = 64};
  const HeadShare share = *share_of_heads(rank_of(1, {0.25, 0.75}), heads);
  EXPECT_EQ(share.query, (Range{8, 24}));
  EXPECT_EQ(share.kv, (std::vector<int64_t>{2, 3, 4, 5, 6, 7}));
}

TEST(Heads, FillWholeQuantisationGroups) {
  // Heads of 16 columns, groups of 64: four heads move together, which are two KV heads.
  const HeadSplit heads{.heads = 12, .kv_heads = 6, .value_dim = 16, .group_size = 64};
  const HeadShare share = *share_of_heads(rank_of(0, {0.5, 0.5}), heads);
  EXPECT_EQ(share.query, (Range{0, 8}));
  EXPECT_EQ(share.kv, (std::vector<int64_t>{0, 1, 2, 3}));
}

TEST(Heads, KvHeadsReplicateWhenRanksExceedThem) {
  const HeadSplit heads{.heads = 8, .kv_heads = 2, .value_dim = 64, .group_size = 64};
  for (int32_t rank = 0; rank < 4; ++rank) {
    const HeadShare share = *share_of_heads(rank_of(rank, {0.25, 0.25, 0.25, 0.25}), heads);
    EXPECT_EQ(share.query, (Range{rank * 2, 2}));
    EXPECT_EQ(share.kv, std::vector<int64_t>{rank / 2});
  }
}

TEST(Heads, ARaggedShareListsAKvHeadAsOftenAsNeeded) {
  const HeadSplit heads{.heads = 12, .kv_heads = 2, .value_dim = 64, .group_size = 64};
  const std::vector<double> thirds = {1.0 / 3, 1.0 / 3, 1.0 / 3};
  EXPECT_EQ(share_of_heads(rank_of(0, thirds), heads)->kv, std::vector<int64_t>{0});
  EXPECT_EQ(share_of_heads(rank_of(1, thirds), heads)->kv, (std::vector<int64_t>{0, 1}));
  EXPECT_EQ(share_of_heads(rank_of(2, thirds), heads)->kv, std::vector<int64_t>{1});
}

TEST(Heads, EveryQueryHeadReadsItsOwnKvHead) {
  for (int64_t kv_heads = 1; kv_heads <= 6; ++kv_heads) {
    for (int64_t per_kv = 1; per_kv <= 7; ++per_kv) {
      const HeadSplit heads{kv_heads * per_kv, kv_heads, 32, 32};
      for (int ranks = 1; ranks <= heads.heads; ++ranks) {
        const std::vector<double> fractions(ranks, 1.0 / ranks);
        for (int32_t rank = 0; rank < ranks; ++rank) {
          const HeadShare share = *share_of_heads(rank_of(rank, fractions), heads);
          const auto kv = static_cast<int64_t>(share.kv.size());
          ASSERT_EQ(share.query.count % kv, 0);
          for (int64_t q = 0; q < share.query.count; ++q) {
            ASSERT_EQ(share.kv[q * kv / share.query.count], (share.query.first + q) / per_kv);
          }
        }
      }
    }
  }
}

TEST(Heads, TooFewForTheRanksAreRefused) {
  const HeadSplit heads{.heads = 4, .kv_heads = 4, .value_dim = 32, .group_size = 64};
  EXPECT_TRUE(share_of_heads(rank_of(0, {0.5, 0.5}), heads));
  EXPECT_FALSE(share_of_heads(rank_of(0, {0.4, 0.3, 0.3}), heads));
}

TEST(Shard, IsCheckedBeforeUse) {
  EXPECT_TRUE(check_shard(Shard{}, 4));
  EXPECT_TRUE(check_shard(Shard{.first_layer = 1, .last_layer = 4}, 4));
  EXPECT_FALSE(check_shard(Shard{.first_layer = 4}, 4));
  EXPECT_FALSE(check_shard(Shard{.first_layer = 2, .last_layer = 5}, 4));
  EXPECT_FALSE(check_shard(rank_of(0, {0.5, 0.4}), 4));
  EXPECT_FALSE(check_shard(rank_of(2, {0.5, 0.5}), 4));
  EXPECT_FALSE(check_shard(rank_of(0, {1.5, -0.5}), 4));
}

}  // namespace
}  // namespace cohort::models
