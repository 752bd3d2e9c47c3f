#include "runner/inbox.h"

#include <gtest/gtest.h>

#include <thread>

namespace cohort::runner {
namespace {

constexpr std::chrono::milliseconds kNoWait{0};
constexpr std::chrono::minutes kLong{1};

TEST(Inbox, GivesWorkInOrder) {
  Inbox inbox;
  for (uint64_t id = 0; id < 5; ++id) inbox.push(Cancellation{id});
  const auto work = inbox.take(kNoWait);
  ASSERT_EQ(work.size(), 5u);
  for (uint64_t id = 0; id < 5; ++id) EXPECT_EQ(std::get<Cancellation>(work[id]).id, id);
  EXPECT_TRUE(inbox.take(kNoWait).empty());
}

TEST(Inbox, AFullInboxHoldsTheReaderBackAndLosesNothing) {
  Inbox inbox;
  constexpr uint64_t kCount = 10 * Inbox::kCapacity;
  std::thread reader([&] {
    for (uint64_t id = 0; id < kCount; ++id) inbox.push(Cancellation{id});
  });
  uint64_t next = 0;
  while (next < kCount) {
    const auto work = inbox.take(kLong);
    EXPECT_LE(work.size(), Inbox::kCapacity);
    for (const Work& item : work) EXPECT_EQ(std::get<Cancellation>(item).id, next++);
  }
  reader.join();
}

TEST(Inbox, ClosingWakesBothSides) {
  Inbox inbox;
  std::thread taker([&] { EXPECT_TRUE(inbox.take(kLong).empty()); });
  inbox.close();
  taker.join();
  EXPECT_TRUE(inbox.closed());

  Inbox full;
  for (size_t i = 0; i < Inbox::kCapacity; ++i) full.push(Shutdown{});
  std::thread pusher([&] { full.push(Shutdown{}); });
  full.close();
  pusher.join();
}

}  // namespace
}  // namespace cohort::runner
