#include "engine/page_pool.h"

#include <gtest/gtest.h>

namespace cohort::engine {
namespace {

TEST(PagePool, HandsOutEachPageOnce) {
  PagePool pool(3);
  EXPECT_EQ(pool.allocate(), 0);
  EXPECT_EQ(pool.allocate(), 1);
  EXPECT_EQ(pool.allocate(), 2);
  EXPECT_EQ(pool.allocate(), std::nullopt);
  pool.release(1);
  EXPECT_EQ(pool.allocate(), 1);
}

TEST(PagePool, ASharedPageIsFreeWhenItsLastUserLeaves) {
  PagePool pool(1);
  const int32_t page = *pool.allocate();
  pool.retain(page);
  EXPECT_FALSE(pool.writable(page));
  pool.release(page);
  EXPECT_TRUE(pool.writable(page));
  EXPECT_EQ(pool.free(), 0);
  pool.release(page);
  EXPECT_EQ(pool.free(), 1);
}

TEST(PagePool, AKeptPageIsCachedWhileUnusedAndFreeWhenDropped) {
  PagePool pool(2);
  const int32_t page = *pool.allocate();
  pool.keep(page);
  EXPECT_FALSE(pool.writable(page));
  EXPECT_EQ(pool.used(), 1);
  pool.release(page);
  EXPECT_EQ(pool.used(), 0);
  EXPECT_EQ(pool.cached(), 1);
  EXPECT_EQ(pool.free(), 1);
  EXPECT_EQ(pool.available(), 2);
  pool.retain(page);
  EXPECT_EQ(pool.cached(), 0);
  pool.release(page);
  pool.drop(page);
  EXPECT_EQ(pool.free(), 2);
}

TEST(PagePool, ADroppedPageStaysWithItsUser) {
  PagePool pool(1);
  const int32_t page = *pool.allocate();
  pool.keep(page);
  pool.drop(page);
  EXPECT_EQ(pool.free(), 0);
  EXPECT_TRUE(pool.writable(page));
}

}  // namespace
}  // namespace cohort::engine
