#include "transport/group.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstring>
#include <functional>
#include <thread>
#include <tuple>

#include "transport/testing/ranks.h"

namespace cohort::transport {
namespace {

using testing::on_all_ranks;
using testing::soon;
using testing::value_of;
using testing::values_of;

class GroupOf : public ::testing::TestWithParam<std::tuple<int, LinkType>> {
 protected:
  int size() const { return std::get<0>(GetParam()); }
  LocalGroupOptions options(Wire wire = Wire::kF32) const {
    return {.size = size(), .type = std::get<1>(GetParam()), .group = {.wire = wire}};
  }
};

INSTANTIATE_TEST_SUITE_P(Ranks, GroupOf,
                         ::testing::Combine(::testing::Values(1, 2, 3, 4, 5, 8),
                                            ::testing::ValuesIn(link_types_here())),
                         [](const auto& test) {
                           return std::to_string(std::get<0>(test.param)) +
                                  type_name(std::get<1>(test.param));
                         });

// Sizes on both sides of the direct limit, of a message, of a wire group; and none at all.
constexpr size_t kCounts[] = {0, 1, 31, 33, 2048, 4099, 20001, 70003};

TEST_P(GroupOf, SumsAddInRankOrderToTheLastBit) {
  on_all_ranks(options(), [&](Group& group) {
    for (size_t count : kCounts) {
      std::vector<float> values = values_of(group.rank(), count);
      ASSERT_TRUE(group.all_sum(values, soon()));
      for (size_t i = 0; i < count; ++i) {
        float expected = value_of(0, i);
        for (int r = 1; r < size(); ++r) expected += value_of(r, i);
        ASSERT_EQ(values[i], expected)
            << "value " << i << " of " << count << " on rank " << group.rank();
      }
    }
  });
}

TEST_P(GroupOf, SumsThatTravelMeanwhileAreTheSame) {
  for (const Wire wire : {Wire::kF32, Wire::kBF16, Wire::kQ8}) {
    on_all_ranks(options(wire), [&](Group& group) {
      for (size_t count : kCounts) {
        std::vector<float> at_once = values_of(group.rank(), count), begun = at_once;
        ASSERT_TRUE(group.all_sum(at_once, soon()));
        ASSERT_TRUE(group.begin_sum(begun));
        for (int look = 0; look < group.rank(); ++look) ASSERT_TRUE(group.go_on());
        ASSERT_TRUE(group.finish_sum(soon()));
        ASSERT_TRUE(begun == at_once) << count << " values on rank " << group.rank();
      }
    });
  }
}

TEST_P(GroupOf, IdleWorkIsDoneWhileARankWaits) {
  if (size() == 1) return;
  std::atomic<bool> worked = false;
  on_all_ranks(options(), [&](Group& group) {
    std::vector<float> values(100, 1.0f);
    const Deadline deadline = soon();
    if (group.rank() == 0) {
      const std::function<void()> work = [&] { worked = true; };
      group.set_idle_work(&work);
      ASSERT_TRUE(group.all_sum(values, deadline));
      group.set_idle_work(nullptr);
      worked = false;
    } else {  // keeps rank 0 waiting until it has worked
      while (!worked && !deadline.passed()) std::this_thread::yield();
      ASSERT_TRUE(group.all_sum(values, deadline));
    }
    ASSERT_TRUE(group.barrier(deadline));
    EXPECT_FALSE(worked) << "none was wanted any more";
  });
}

TEST(BegunSum, OfAPeerThatGaveUpFails) {
  on_all_ranks({.size = 2}, [&](Group& group) {
    if (group.rank() == 1) return group.abort("no more");
    std::vector<float> values(100'000, 1.0f);
    const Result<void> begun = group.begin_sum(values);
    const Result<void> finished = group.finish_sum(soon());
    ASSERT_FALSE(finished);
    EXPECT_EQ(finished.error().code, Code::kUnavailable);
    if (!begun) {
      EXPECT_EQ(begun.error().message, finished.error().message);
    }
  });
}

// What all_sum may lose to a short wire type: each rank's rounding, and that of the sum when it travels too.
float allowed_error(Wire wire, int ranks, float largest_part, float largest_sum) {
  const float relative = wire == Wire::kBF16 ? 0x1p-8f : 0.5f / 127.0f;
  return 1.01f * relative * (static_cast<float>(ranks) * largest_part + largest_sum) + 1e-4f;
}

void sum_on_short_wire(const LocalGroupOptions& options) {
  std::vector<std::vector<float>> results(static_cast<size_t>(options.size));
  const Wire wire = options.group.wire;
  for (size_t count : kCounts) {
    on_all_ranks(options, [&](Group& group) {
      std::vector<float>& values = results[static_cast<size_t>(group.rank())];
      values = values_of(group.rank(), count);
      ASSERT_TRUE(group.all_sum(values, soon()));
    });
    for (const auto& result : results) {
      ASSERT_EQ(result.size(), count);
      ASSERT_TRUE(count == 0 ||
                  std::memcmp(result.data(), results[0].data(), count * sizeof(float)) == 0)
          << "ranks differ at " << count << " values";
    }
    const float part = 17.1f * static_cast<float>(1 + (options.size - 1) * (options.size - 1));
    const float bound =
        allowed_error(wire, options.size, part, part * static_cast<float>(options.size));
    for (size_t i = 0; i < count; ++i) {
      double expected = 0;
      for (int r = 0; r < options.size; ++r) expected += static_cast<double>(value_of(r, i));
      ASSERT_NEAR(results[0][i], expected, bound) << "value " << i << " of " << count;
    }
  }
}

TEST_P(GroupOf, SumsOverBf16AreTheSameOnAllRanksAndClose) {
  sum_on_short_wire(options(Wire::kBF16));
}
TEST_P(GroupOf, SumsOverQ8AreTheSameOnAllRanksAndClose) { sum_on_short_wire(options(Wire::kQ8)); }

TEST_P(GroupOf, GathersUnevenAndEmptyParts) {
  on_all_ranks(options(), [&](Group& group) {
    for (size_t unit : {size_t{0}, size_t{1}, size_t{777}, size_t{50'000}}) {
      std::vector<size_t> sizes;
      std::vector<std::byte> expected;
      for (int r = 0; r < size(); ++r) {
        sizes.push_back(r % 3 == 1 ? 0 : unit * static_cast<size_t>(r + 1));
        expected.insert(expected.end(), sizes.back(), std::byte(r + 1));
      }
      const std::vector<std::byte> part(sizes[static_cast<size_t>(group.rank())],
                                        std::byte(group.rank() + 1));
      std::vector<std::byte> all(expected.size());
      ASSERT_TRUE(group.all_gather(part, sizes, all, soon()));
      ASSERT_TRUE(all == expected) << "unit " << unit << " on rank " << group.rank();
    }
  });
}

TEST_P(GroupOf, BroadcastsFromEveryRank) {
  on_all_ranks(options(), [&](Group& group) {
    for (size_t count : {size_t{0}, size_t{1}, size_t{65'536}, size_t{300'001}}) {
      for (int root = 0; root < size(); ++root) {
        const std::vector<std::byte> sent(count, std::byte(root + 3));
        std::vector<std::byte> bytes = group.rank() == root ? sent : std::vector<std::byte>(17);
        ASSERT_TRUE(group.broadcast(root, bytes, soon()));
        ASSERT_TRUE(bytes == sent);
      }
    }
  });
}

TEST_P(GroupOf, PassesBytesDownAPipeline) {
  on_all_ranks(options(), [&](Group& group) {
    std::vector<std::byte> bytes(200'000);
    for (int round = 0; round < 3; ++round) {
      if (group.rank() == 0) std::fill(bytes.begin(), bytes.end(), std::byte(round));
      if (group.rank() > 0) {
        ASSERT_TRUE(group.receive(group.rank() - 1, bytes, soon()));
      }
      ASSERT_EQ(bytes.back(), std::byte(group.rank() + round));
      for (std::byte& b : bytes) b = std::byte(static_cast<int>(b) + 1);
      if (group.rank() + 1 < size()) {
        ASSERT_TRUE(group.send(group.rank() + 1, bytes, soon()));
      }
    }
  });
}

TEST_P(GroupOf, NobodyPassesABarrierBeforeAllHaveComeToIt) {
  std::atomic<int> arrived{0};
  on_all_ranks(options(), [&](Group& group) {
    for (int round = 1; round <= 10; ++round) {
      arrived.fetch_add(1);
      ASSERT_TRUE(group.barrier(soon()));
      ASSERT_GE(arrived.load(), round * size());
    }
  });
}

TEST_P(GroupOf, LongWaitsSleepAndWakeAgain) {
  LocalGroupOptions impatient = options();
  impatient.group.spin_time = std::chrono::microseconds(0);
  on_all_ranks(impatient, [&](Group& group) {
    for (size_t count : {size_t{100}, size_t{100'000}}) {
      std::vector<float> values(count, static_cast<float>(group.rank() + 1));
      for (int round = 0; round < 5; ++round) ASSERT_TRUE(group.all_sum(values, soon()));
      const auto n = static_cast<float>(size());
      ASSERT_EQ(values.back(), std::pow(n, 4.0f) * n * (n + 1) / 2);
    }
  });
}

TEST(Group, PartsOfAGroupAreGroupsOverTheSameLinks) {
  on_all_ranks({.size = 5}, [](Group& group) {
    // A pipeline of two stages: ranks {1, 0} and {2, 3, 4}.
    const std::vector<int> ranks = group.rank() < 2 ? std::vector{1, 0} : std::vector{2, 3, 4};
    const std::unique_ptr<Group> stage = group.subset(ranks);
    ASSERT_EQ(ranks[static_cast<size_t>(stage->rank())], group.rank());
    std::vector<float> values(3000, 1.0f);
    for (int round = 0; round < 3; ++round) {
      std::vector<std::byte> plan(10);
      ASSERT_TRUE(group.broadcast(0, plan, soon()));
      ASSERT_TRUE(stage->all_sum(values, soon()));
    }
    ASSERT_EQ(values[7], group.rank() < 2 ? 8.0f : 27.0f);
    ASSERT_TRUE(group.all_sum(values, soon()));
    ASSERT_EQ(values[7], 2 * 8.0f + 3 * 27.0f);
  });
}

TEST(Group, TheDirectAndTheScatteredSumHaveTheSameBits) {
  std::vector<float> direct, scattered;
  for (auto& [limit, result] :
       {std::pair(size_t{0}, &scattered), std::pair(size_t{1} << 30, &direct)}) {
    on_all_ranks({.size = 4, .group = {.bytes_per_latency = limit}},
                 [&, out = result](Group& group) {
                   std::vector<float> values = values_of(group.rank(), 5000);
                   ASSERT_TRUE(group.all_sum(values, soon()));
                   if (group.rank() == 2) *out = values;
                 });
  }
  EXPECT_EQ(direct, scattered);
}

class GroupErrors : public ::testing::TestWithParam<LinkType> {};
INSTANTIATE_TEST_SUITE_P(Links, GroupErrors, ::testing::ValuesIn(link_types_here()),
                         [](const auto& test) { return type_name(test.param); });

TEST_P(GroupErrors, ADeadlineThatPassesEndsTheGroupOnAllRanksAndNamesWhoWasAwaited) {
  std::atomic<int> expired{0};  // ranks
  on_all_ranks({.size = 3, .type = GetParam()}, [&](Group& group) {
    if (group.rank() == 2) {  // comes too late, and learns that there is no group any more
      for (int seen = 0; (seen = expired) < 2;) expired.wait(seen);
      Result<void> result;
      while (result) result = group.barrier(soon());
      EXPECT_EQ(result.error().code, Code::kUnavailable) << result.error().message;
      return;
    }
    const Result<void> result = group.barrier(Deadline::after(std::chrono::milliseconds(30)));
    ASSERT_FALSE(result);
    EXPECT_NE(result.error().message.find("rank 2"), std::string::npos) << result.error().message;
    EXPECT_EQ(group.barrier(soon()).error().message, result.error().message) << "stays dead";
    if (result.error().code != Code::kTimeout) {  // the other rank's deadline came first
      EXPECT_EQ(result.error().code, Code::kUnavailable) << result.error().message;
    }
    ++expired;
    expired.notify_all();
  });
}

TEST_P(GroupErrors, AnAbortReachesRanksThatWaitForOthers) {
  on_all_ranks({.size = 4, .type = GetParam()}, [](Group& group) {
    if (group.rank() == 3) return group.abort("the disk is full");
    // Rank 0 waits for 1, 1 for 2, 2 for 0: nobody for 3.
    std::vector<std::byte> bytes(10);
    const Result<void> result = group.receive((group.rank() + 1) % 3, bytes, Deadline::never());
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Code::kUnavailable);
    EXPECT_NE(result.error().message.find("the disk is full"), std::string::npos)
        << result.error().message;
  });
}

TEST_P(GroupErrors, WhoStillWantsSomethingOfARankThatLeftIsToldSo) {
  on_all_ranks({.size = 2, .type = GetParam()}, [](Group& group) {
    std::vector<std::byte> bytes(10);
    if (group.rank() == 1) {
      ASSERT_TRUE(group.send(0, bytes, soon()));
      return;  // leaves
    }
    ASSERT_TRUE(group.receive(1, bytes, soon())) << "what was sent before leaving arrives";
    const Result<void> result = group.receive(1, bytes, soon());
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().message, "send: rank 1: has left");
  });
}

TEST_P(GroupErrors, RanksThatLeaveEarlyDoNotDisturbTheOthers) {
  on_all_ranks(
      {.size = 3, .type = GetParam(), .group = {.spin_time = std::chrono::microseconds(0)}},
      [](Group& group) {
        if (group.rank() == 0) return;
        std::vector<std::byte> bytes(100'000);
        for (int round = 0; round < 20; ++round) {
          ASSERT_TRUE(group.rank() == 1 ? group.send(2, bytes, soon())
                                        : group.receive(1, bytes, soon()));
          ASSERT_TRUE(group.rank() == 2 ? group.send(1, bytes, soon())
                                        : group.receive(2, bytes, soon()));
        }
      });
}

TEST_P(GroupErrors, DifferentCallsOrSizesAreNoticed) {
  on_all_ranks({.size = 2, .type = GetParam()}, [](Group& group) {
    std::vector<float> values(group.rank() == 0 ? 100 : 101);
    const Result<void> result = group.all_sum(values, soon());
    ASSERT_FALSE(result);
    EXPECT_TRUE(result.error().code == Code::kDataLoss ||
                result.error().code == Code::kUnavailable);
  });
  on_all_ranks({.size = 2, .type = GetParam()}, [](Group& group) {
    std::vector<float> values(100);
    std::vector<std::byte> bytes(100);
    const Result<void> result =
        group.rank() == 0 ? group.all_sum(values, soon()) : group.broadcast(0, bytes, soon());
    ASSERT_FALSE(result);
    EXPECT_TRUE(result.error().code == Code::kDataLoss ||
                result.error().code == Code::kUnavailable);
  });
}

TEST_P(GroupErrors, AnotherThreadCanCancelAWaitWithoutDeadline) {
  std::atomic<bool> cancel{false};
  on_all_ranks({.size = 2, .type = GetParam(), .group = {.cancel = &cancel}}, [&](Group& group) {
    std::vector<std::byte> bytes(10);
    if (group.rank() == 1) {
      ASSERT_TRUE(group.send(0, bytes, soon()));
    } else {
      ASSERT_TRUE(group.receive(1, bytes, soon()));
      cancel.store(true);
    }
    const Result<void> result = group.receive(1 - group.rank(), bytes, Deadline::never());
    ASSERT_FALSE(result);
    EXPECT_TRUE(result.error().code == Code::kCancelled ||
                result.error().code == Code::kUnavailable);
  });
}

TEST(Group, FloatsBetweenTwoRanksArriveAsTheWireMakesThem) {
  for (const Wire wire : {Wire::kF32, Wire::kBF16, Wire::kQ8}) {
    on_all_ranks({.size = 2, .group = {.wire = wire}}, [wire](Group& group) {
      for (const size_t count : {size_t{1}, size_t{33}, size_t{100'000}}) {
        const std::vector<float> sent = values_of(1, count);
        if (group.rank() == 1) {
          ASSERT_TRUE(group.send_values(0, sent, soon()));
          continue;
        }
        std::vector<std::byte> bytes(wire_bytes(wire, count));
        std::vector<float> expected(count), values(count);
        encode(wire, sent, bytes.data());
        decode(wire, bytes.data(), expected);
        ASSERT_TRUE(group.receive_values(1, values, soon()));
        EXPECT_EQ(values, expected) << wire_name(wire) << " " << count;
      }
    });
  }
}

TEST(Group, RanksThatAreTunedStillSumInRankOrder) {
  for (const Wire wire : {Wire::kF32, Wire::kQ8}) {
    on_all_ranks({.size = 4, .group = {.wire = wire}}, [wire](Group& group) {
      ASSERT_TRUE(group.tune(soon()));
      for (size_t count : {size_t{7}, size_t{5000}, size_t{200'000}}) {
        std::vector<float> values = values_of(group.rank(), count);
        ASSERT_TRUE(group.all_sum(values, soon())) << "ranks that took different ways would fail";
        float sum = value_of(0, count - 1);
        for (int rank = 1; rank < 4; ++rank) sum += value_of(rank, count - 1);
        ASSERT_NEAR(values.back(), sum, wire == Wire::kF32 ? 0 : 10) << count;
      }
    });
  }
}

TEST(Group, EncryptedGroupsSumAsPlainOnesDo) {
  LinkKey secret{};
  secret[5] = std::byte{42};
  on_all_ranks({.size = 3, .type = LinkType::kTcp, .secret = secret}, [](Group& group) {
    for (size_t count : kCounts) {
      std::vector<float> values = values_of(group.rank(), count);
      ASSERT_TRUE(group.all_sum(values, soon()));
      if (count > 0) {
        ASSERT_EQ(values.back(),
                  (value_of(0, count - 1) + value_of(1, count - 1)) + value_of(2, count - 1));
      }
    }
  });
}

}  // namespace
}  // namespace cohort::transport
