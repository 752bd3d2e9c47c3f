#include "node/restart_policy.h"

#include <gtest/gtest.h>

namespace cohort::node {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;

TEST(RestartPolicy, WaitsTwiceAsLongAfterEachCrashUpToALimit) {
  RestartPolicy policy({.max_crashes = 9});
  const RestartPolicy::TimePoint now{};
  std::vector<int64_t> delays;
  for (int i = 0; i < 8; ++i) delays.push_back(policy.on_crash(now)->count());
  EXPECT_EQ(delays, (std::vector<int64_t>{250, 500, 1000, 2000, 4000, 8000, 8000, 8000}));
}

TEST(RestartPolicy, GivesUpAtTheFifthCrashWithinTheWindow) {
  RestartPolicy policy({});
  RestartPolicy::TimePoint now{};
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(policy.on_crash(now += minutes(1)));
  EXPECT_FALSE(policy.on_crash(now += minutes(1)));
}

TEST(RestartPolicy, ForgetsCrashesOfLongAgo) {
  RestartPolicy policy({});
  RestartPolicy::TimePoint now{};
  for (int i = 0; i < 20; ++i) EXPECT_EQ(policy.on_crash(now += minutes(11)), milliseconds(250));
}

}  // namespace
}  // namespace cohort::node
