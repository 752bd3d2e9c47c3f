#include "backend/cpu/worker_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

namespace cohort::backend {
namespace {

class WorkerPools : public testing::TestWithParam<int> {};

TEST_P(WorkerPools, DoEveryItemOnceInGrains) {
  WorkerPool pool(GetParam());
  for (int64_t total : {0, 1, 2, 7, 100, 1001}) {
    for (int64_t grain : {1, 3, 64, 2000}) {
      std::vector<std::atomic<int>> visits(static_cast<size_t>(total));
      pool.for_each(total, grain, [&](int64_t first, int64_t count, int) {
        EXPECT_EQ(first % grain, 0);
        EXPECT_LE(count, grain);
        for (int64_t i = first; i < first + count; ++i) ++visits[static_cast<size_t>(i)];
      });
      EXPECT_TRUE(std::all_of(visits.begin(), visits.end(), [](const auto& n) { return n == 1; }))
          << total << " by " << grain;
    }
  }
}

TEST_P(WorkerPools, NeverRunTwoCallsAsTheSameWorker) {
  WorkerPool pool(GetParam());
  std::vector<std::atomic<int>> inside(static_cast<size_t>(GetParam()));
  std::atomic<bool> clash = false;
  for (int round = 0; round < 200; ++round) {
    pool.for_each(50, 1, [&](int64_t, int64_t, int worker) {
      if (inside[static_cast<size_t>(worker)]++ != 0) clash = true;
      --inside[static_cast<size_t>(worker)];
    });
  }
  EXPECT_FALSE(clash);
}

TEST_P(WorkerPools, ShowTheCallerWhatTheOthersWrote) {
  WorkerPool pool(GetParam());
  std::vector<int64_t> squares(5000);
  for (int64_t round = 1; round < 300; ++round) {
    pool.for_each(static_cast<int64_t>(squares.size()), 16, [&](int64_t first, int64_t count, int) {
      for (int64_t i = first; i < first + count; ++i) squares[static_cast<size_t>(i)] = i * round;
    });
    for (int64_t i = 0; i < static_cast<int64_t>(squares.size()); ++i) {
      ASSERT_EQ(squares[static_cast<size_t>(i)], i * round);
    }
  }
}

TEST_P(WorkerPools, HeldBackDoEveryItemOnceAllTheSame) {
  WorkerPool pool({.workers = GetParam(), .pace = 0.5});
  std::vector<std::atomic<int>> visits(1001);
  pool.for_each(1001, 3, [&](int64_t first, int64_t count, int) {
    for (int64_t i = first; i < first + count; ++i) ++visits[static_cast<size_t>(i)];
  });
  EXPECT_TRUE(std::all_of(visits.begin(), visits.end(), [](const auto& n) { return n == 1; }));
}

TEST(WorkerPool, WorkersThatWaitDoTheirIdleWork) {
  std::atomic<bool> worked = false;
  WorkerPool pool({.workers = 2, .idle = [&](int worker) {
                     if (worker == 1) worked = true;
                   }});
  while (!worked) std::this_thread::yield();
  std::atomic<int64_t> items = 0;
  pool.for_each(100, 1, [&](int64_t, int64_t count, int) { items += count; });
  EXPECT_EQ(items, 100);
}

INSTANTIATE_TEST_SUITE_P(Sizes, WorkerPools, testing::Values(1, 2, 3, 8));

}  // namespace
}  // namespace cohort::backend
