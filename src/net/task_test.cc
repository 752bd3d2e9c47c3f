#include "net/task.h"

#include <gtest/gtest.h>

#include "net/blocking_pool.h"

namespace cohort::net {
namespace {

using std::chrono::milliseconds;

Task<void> wait_and_record(Notification& notification, TimePoint deadline,
                           std::vector<Wake>& wakes) {
  wakes.push_back(co_await notification.wait(deadline));
  wakes.push_back(co_await notification.wait(deadline));
}

TEST(Notification, WakesEveryWaiterOnce) {
  Loop loop(1);
  Notification notification(loop.get_executor());
  std::vector<Wake> wakes;
  TaskGroup tasks(loop.get_executor());
  tasks.spawn(wait_and_record(notification, kNever, wakes));
  tasks.spawn(wait_and_record(notification, kNever, wakes));
  loop.poll();
  notification.notify_all();
  loop.poll();
  EXPECT_EQ(wakes, (std::vector<Wake>{Wake::kNotified, Wake::kNotified}));
  tasks.cancel();
  loop.run();
  EXPECT_EQ(wakes.size(), 4u);
}

TEST(Notification, ADeadlineThatHasPassedIsATimeout) {
  Loop loop(1);
  Notification notification(loop.get_executor());
  std::vector<Wake> wakes;
  TaskGroup tasks(loop.get_executor());
  tasks.spawn(wait_and_record(notification, Clock::now() - milliseconds(1), wakes));
  loop.run();
  EXPECT_EQ(wakes, (std::vector<Wake>{Wake::kTimeout, Wake::kTimeout}));
}

TEST(Beats, AreMultiplesOfThePeriodAndAllLieAhead) {
  using std::chrono::milliseconds;
  const TimePoint zero{};
  EXPECT_EQ(next_beat(zero + milliseconds(130), milliseconds(100)), zero + milliseconds(200));
  EXPECT_EQ(next_beat(zero + milliseconds(130), milliseconds(200)), zero + milliseconds(200));
  EXPECT_EQ(next_beat(zero + milliseconds(200), milliseconds(200)), zero + milliseconds(400))
      << "not the one that is now";
}

TEST(TaskGroup, CancellingEndsTheWaitUnderWayAndEveryLaterOne) {
  Loop loop(1);
  Notification notification(loop.get_executor());
  std::vector<Wake> wakes;
  TaskGroup tasks(loop.get_executor());
  tasks.spawn(wait_and_record(notification, kNever, wakes));
  loop.poll();
  tasks.cancel();
  loop.run();
  EXPECT_EQ(wakes, (std::vector<Wake>{Wake::kCancelled, Wake::kCancelled}));
  EXPECT_EQ(tasks.size(), 0u);
}

Task<void> notify_then_be_cancelled_before_resuming(Notification& notification, TaskGroup& tasks) {
  notification.notify_all();
  tasks
      .cancel();  // the waiter is on its way: it sees the notification first, the cancellation next
  co_return;
}

TEST(TaskGroup, ACancellationIsNotLostBetweenTwoWaits) {
  Loop loop(1);
  Notification notification(loop.get_executor());
  std::vector<Wake> wakes;
  TaskGroup tasks(loop.get_executor());
  TaskGroup others(loop.get_executor());
  tasks.spawn(wait_and_record(notification, kNever, wakes));
  loop.poll();
  others.spawn(notify_then_be_cancelled_before_resuming(notification, tasks));
  loop.run();
  EXPECT_EQ(wakes, (std::vector<Wake>{Wake::kNotified, Wake::kCancelled}));
}

Task<void> clean_up(TaskGroup& inner, Notification& release, bool& done) {
  inner.spawn(
      [](Notification& until) -> Task<void> { co_await until.wait_uncancelled(); }(release));
  co_await inner.join();
  done = true;
}

TEST(TaskGroup, JoinWaitsEvenInACancelledTask) {
  Loop loop(1);
  Notification release(loop.get_executor());
  TaskGroup inner(loop.get_executor()), outer(loop.get_executor());
  bool done = false;
  outer.spawn(clean_up(inner, release, done));
  loop.poll();
  outer.cancel();
  loop.poll();
  EXPECT_FALSE(done);
  release.notify_all();
  loop.run();
  EXPECT_TRUE(done);
}

Task<void> square(BlockingPool& pool, int value, std::vector<int>& results) {
  results.push_back(co_await pool.run([value] { return value * value; }));
}

TEST(BlockingPool, BringsResultsBackToTheLoop) {
  Loop loop(1);
  BlockingPool pool(loop.get_executor(), 2);
  std::vector<int> results;
  TaskGroup tasks(loop.get_executor());
  for (int i = 1; i <= 3; ++i) tasks.spawn(square(pool, i, results));
  loop.run();
  std::sort(results.begin(), results.end());
  EXPECT_EQ(results, (std::vector<int>{1, 4, 9}));
}

}  // namespace
}  // namespace cohort::net
