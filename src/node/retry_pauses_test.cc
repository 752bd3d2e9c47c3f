#include "node/retry_pauses.h"

#include <gtest/gtest.h>

#include <vector>

namespace cohort::node {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// How long a pause that began at `now` lasts, to the second.
seconds length_of(const RetryPauses& pauses, const std::string& peer, RetryPauses::TimePoint now) {
  seconds length{0};
  while (pauses.holds(peer, now + length)) ++length;
  return length;
}

TEST(RetryPauses, GrowFromThreeSecondsToAMinute) {
  RetryPauses pauses;
  RetryPauses::TimePoint now{};
  EXPECT_FALSE(pauses.holds("a", now));
  std::vector<int64_t> lengths;
  for (int i = 0; i < 7; ++i) {
    pauses.broke_off("a", now);
    lengths.push_back(length_of(pauses, "a", now).count());
    now += seconds(lengths.back());
  }
  EXPECT_EQ(lengths, (std::vector<int64_t>{3, 6, 12, 24, 48, 60, 60}));
}

TEST(RetryPauses, HoldForOnePeerOnlyAndUpToTheirEnd) {
  RetryPauses pauses;
  const RetryPauses::TimePoint now{};
  pauses.broke_off("a", now);
  EXPECT_FALSE(pauses.holds("b", now));
  EXPECT_TRUE(pauses.holds("a", now + seconds(3) - milliseconds(1)));
  EXPECT_FALSE(pauses.holds("a", now + seconds(3)));
}

TEST(RetryPauses, ASuccessEndsTheRow) {
  RetryPauses pauses;
  const RetryPauses::TimePoint now{};
  for (int i = 0; i < 4; ++i) pauses.broke_off("a", now);
  pauses.succeeded("a");
  EXPECT_FALSE(pauses.holds("a", now));
  pauses.broke_off("a", now);
  EXPECT_EQ(length_of(pauses, "a", now), RetryPauses::kFirst);
}

TEST(RetryPauses, PeersThatAreGoneAreForgotten) {
  RetryPauses pauses;
  const RetryPauses::TimePoint now{};
  for (const char* peer : {"a", "b", "b"}) pauses.broke_off(peer, now);
  pauses.keep_only([](const std::string& peer) { return peer == "a"; });
  EXPECT_EQ(pauses.size(), 1u);
  EXPECT_TRUE(pauses.holds("a", now));
  EXPECT_FALSE(pauses.holds("b", now));
  pauses.broke_off("b", now);
  EXPECT_EQ(length_of(pauses, "b", now), RetryPauses::kFirst) << "it is back, and begins anew";
}

}  // namespace
}  // namespace cohort::node
