#include "mesh/lookup.h"

#include <gtest/gtest.h>

#include <future>

#include "mesh/testing/devices.h"

namespace cohort::mesh {
namespace {

using Addresses = Result<std::vector<std::string>>;
using testing::get;
using testing::run;
using testing::run_until;

net::TimePoint soon() { return net::Clock::now() + std::chrono::seconds(20); }

TEST(Lookups, GiveTheAddressesOfAName) {
  net::Loop loop(1);
  Lookups lookups(loop.get_executor());
  const Addresses found = get(loop, lookups.find("localhost", soon()));
  ASSERT_TRUE(found);
  EXPECT_TRUE(found->front() == "127.0.0.1" || found->front() == "::1") << found->front();
  EXPECT_EQ(get(loop, lookups.find("no-such-name.invalid", soon())).error().code,
            Code::kUnavailable);
}

net::Task<void> look_up(Lookups& lookups, Addresses& found) {
  found = co_await lookups.find("slow", net::kNever);
}

// What is looked up here is not found until the test has ended.
class Hanging : public ::testing::Test {
 protected:
  ~Hanging() override { release.set_value(); }
  std::promise<void> release;
  std::shared_future<void> released = release.get_future().share();
  net::Loop loop{1};
  Lookups lookups{loop.get_executor(), [until = released](const std::string&) -> Addresses {
                    until.wait();
                    return std::vector<std::string>{"10.0.0.1"};
                  }};
};

TEST_F(Hanging, EndsAtTheDeadline) {
  const Addresses found = get(loop, lookups.find("slow", net::Clock::now()));
  EXPECT_EQ(found.error().code, Code::kUnavailable);
}

TEST_F(Hanging, HoldsUpNobodyWhoCloses) {
  Addresses found = fail(Code::kInternal, "not yet");
  net::TaskGroup tasks(loop.get_executor());
  tasks.spawn(look_up(lookups, found));
  loop.poll();
  run(loop, tasks.close());
  EXPECT_EQ(found.error().code, Code::kCancelled);
}

TEST_F(Hanging, IsBounded) {
  for (int i = 0; i < Lookups::kMaxRunning; ++i)
    (void)get(loop, lookups.find("slow", net::Clock::now()));
  EXPECT_NE(get(loop, lookups.find("slow", soon())).error().message.find("hang already"),
            std::string::npos);
}

}  // namespace
}  // namespace cohort::mesh
