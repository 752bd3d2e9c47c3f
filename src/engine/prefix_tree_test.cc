#include "engine/prefix_tree.h"

#include <gtest/gtest.h>

#include <numeric>

namespace cohort::engine {
namespace {

constexpr int kPage = backend::kPageTokens;
using Tokens = std::vector<text::TokenId>;

Tokens count_from(text::TokenId first, int count) {
  Tokens tokens(static_cast<size_t>(count));
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

class PrefixTreeTest : public ::testing::Test {
 protected:
  // Inserts whole pages as a sequence would that then ends; returns its pages.
  std::vector<int32_t> insert(const Tokens& tokens) {
    std::vector<int32_t> pages;
    PrefixTree::NodeId node = PrefixTree::kRoot;
    for (size_t i = 0; i + kPage <= tokens.size(); i += kPage) {
      const int32_t page = pool_.allocate().value();
      node =
          tree_.insert(node, std::span<const text::TokenId, kPage>(tokens.data() + i, kPage), page);
      pages.push_back(tree_.page(node));
      pool_.release(page);
    }
    return pages;
  }

  PagePool pool_{6};
  PrefixTree tree_{pool_};
};

TEST_F(PrefixTreeTest, FindsTheWholePagesOfAPrefix) {
  const auto pages = insert(count_from(0, 3 * kPage));
  const auto match = tree_.match(count_from(0, 2 * kPage + 5));
  EXPECT_EQ(match.pages, (std::vector<int32_t>{pages[0], pages[1]}));
  EXPECT_EQ(match.partial_tokens, 5);
  EXPECT_EQ(match.partial_page, pages[2]);
  EXPECT_EQ(tree_.match(count_from(1, 2 * kPage)).pages.size(), 0u);
}

TEST_F(PrefixTreeTest, TheSamePageElsewhereIsNotAMatch) {
  Tokens tokens = count_from(0, kPage);
  const Tokens tail = count_from(500, kPage);
  tokens.insert(tokens.end(), tail.begin(), tail.end());
  insert(tokens);
  const auto match = tree_.match(tail);
  EXPECT_TRUE(match.pages.empty());
  EXPECT_EQ(match.partial_tokens, 0);
}

TEST_F(PrefixTreeTest, ThePartialPageIsTheOneThatAgreesLongest) {
  Tokens near = count_from(100, kPage), nearer = near, far = near;
  near[10] = 1;
  nearer[20] = 1;
  far[2] = 100'000;
  insert(far);
  insert(near);
  const auto best = insert(nearer);
  const auto match = tree_.match(count_from(100, kPage));
  EXPECT_EQ(match.partial_tokens, 20);
  EXPECT_EQ(match.partial_page, best[0]);
}

TEST_F(PrefixTreeTest, ASecondCopyIsNotKept) {
  const auto first = insert(count_from(0, kPage));
  const auto second = insert(count_from(0, kPage));
  EXPECT_EQ(first, second);
  EXPECT_EQ(pool_.cached(), 1);
  EXPECT_EQ(pool_.free(), 5);
}

TEST_F(PrefixTreeTest, EvictsTheLeastRecentlyUsedLeafFirst) {
  insert(count_from(0, 2 * kPage));
  insert(count_from(1000, kPage));
  tree_.match(count_from(0, 2 * kPage));
  ASSERT_TRUE(tree_.evict());
  EXPECT_TRUE(tree_.match(count_from(1000, kPage)).pages.empty());
  ASSERT_TRUE(tree_.evict());
  EXPECT_EQ(tree_.match(count_from(0, 2 * kPage)).pages.size(), 1u);
  ASSERT_TRUE(tree_.evict());
  EXPECT_FALSE(tree_.evict());
  EXPECT_EQ(pool_.free(), pool_.total());
}

TEST_F(PrefixTreeTest, PagesInUseStay) {
  const auto pages = insert(count_from(0, 2 * kPage));
  insert(count_from(1000, kPage));
  for (const int32_t page : pages) pool_.retain(page);
  EXPECT_TRUE(tree_.evict());
  EXPECT_FALSE(tree_.evict());
  EXPECT_EQ(tree_.match(count_from(0, 2 * kPage)).pages, pages);
}

}  // namespace
}  // namespace cohort::engine
