#include "transport/slow_link.h"

#include <gtest/gtest.h>

#include "transport/testing/ranks.h"

namespace cohort::transport {
namespace {

using Clock = std::chrono::steady_clock;

class SlowLinkOf : public ::testing::TestWithParam<LinkType> {};

INSTANTIATE_TEST_SUITE_P(Links, SlowLinkOf, ::testing::Values(LinkType::kTcp, LinkType::kShm),
                         [](const auto& test) { return type_name(test.param); });

TEST_P(SlowLinkOf, ASumIsTheSameAndTakesAtLeastWhatItsCableDoes) {
  constexpr size_t kValues = 20'000;  // of several messages
  constexpr std::chrono::milliseconds kOneWay{2};
  const SlowPath path{.one_way = kOneWay, .bytes_per_s = 50e6};
  const LocalGroupOptions options{.size = 2, .type = GetParam(), .path = path};
  const auto began = Clock::now();  // before any rank sends
  testing::on_all_ranks(options, [&](Group& group) {
    std::vector<float> values = testing::values_of(group.rank(), kValues);
    ASSERT_TRUE(group.all_sum(values, testing::soon()));
    const std::chrono::duration<double> least(kOneWay +
                                              std::chrono::duration<double>(kValues * 4 / 50e6));
    EXPECT_GE(Clock::now() - began, least);
    for (size_t i = 0; i < kValues; ++i)
      ASSERT_EQ(values[i], testing::value_of(0, i) + testing::value_of(1, i)) << i;
    ASSERT_TRUE(group.barrier(testing::soon()));
  });
}

}  // namespace
}  // namespace cohort::transport
