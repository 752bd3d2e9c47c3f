#include <gtest/gtest.h>

#include "runner/testing/daemon.h"

namespace cohort::runner {
namespace {

using testing::Daemon;

// Two runners of this process that are to measure a link between them.
class LinkMeasure : public ::testing::Test {
 protected:
  void begin(const std::string& first, const std::string& second) {
    zero_.send(FrameType::kMeasure, MeasureCommand{0, first});
    one_.send(FrameType::kMeasure, MeasureCommand{1, second});
    const uint16_t ports[] = {listening(zero_), listening(one_)};
    zero_.send(FrameType::kConnect, connect_to(1, ports[1]));
    one_.send(FrameType::kConnect, connect_to(0, ports[0]));
  }

  static uint16_t listening(Daemon& daemon) {
    const auto frame = daemon.next();
    EXPECT_TRUE(frame && frame->type == FrameType::kListening);
    return frame ? from_json<Listening>(frame->body).value_or(Listening{}).port : 0;
  }
  static ConnectCommand connect_to(int32_t rank, uint16_t port) {
    ConnectCommand command{.instance = 3, .key = std::string(64, 'c'), .timeout_seconds = 30};
    command.ranks.push_back({rank, "127.0.0.1", port, fmt::format("host{}", rank)});
    return command;
  }

  Daemon zero_, one_;
};

TEST_F(LinkMeasure, RankZeroTellsWhatBothHaveMeasured) {
  begin("shm", "shm");
  const auto frame = zero_.next();
  ASSERT_TRUE(frame);
  ASSERT_EQ(frame->type, FrameType::kMeasured) << dump_json(frame->body);
  const auto measured = from_json<LinkMeasurement>(frame->body).value();
  EXPECT_EQ(measured.transport, "shm");
  EXPECT_GT(measured.rtt_us_p50, 0);
  EXPECT_GE(measured.rtt_us_p99, measured.rtt_us_p50);
  EXPECT_EQ(zero_.wait(), 0);
  EXPECT_EQ(one_.wait(), 0);
}

TEST_F(LinkMeasure, ALinkThatOneSideDoesNotOfferIsRefusedByBothWithTheReason) {
  begin("shm", "tcp");
  const auto frame = zero_.next();
  ASSERT_TRUE(frame);
  ASSERT_EQ(frame->type, FrameType::kFailed);
  const auto failure = from_json<Failure>(frame->body).value();
  EXPECT_NE(failure.message.find("rank 1 (host1): not linked by shm"), std::string::npos)
      << failure.message;
}

TEST_F(LinkMeasure, TheDaemonsEndIsTheEndOfBoth) {
  begin("shm", "shm");
  EXPECT_EQ(one_.exit_code(), 0);
  EXPECT_EQ(zero_.exit_code(), 0);
}

}  // namespace
}  // namespace cohort::runner
