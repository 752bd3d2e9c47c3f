#include "transport/frames/courier.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <random>

#include "base/bytes.h"
#include "transport/verbs/verbs_rules.h"

namespace cohort::transport {
namespace {

using std::chrono::microseconds;

constexpr size_t kPacketBytes = 4096;

// What happens to frames between two ends; chances of each.
struct Weather {
  double lost = 0, twice = 0, late = 0;
  // And with the packet its frame, and the next one if the frame had others: as software RDMA does it.
  double packet_lost = 0;
  bool reliable = false;
};

// One direction of a cable. Frames that find no slot are lost, or wait where the cable is reliable.
struct Lane {
  struct Slot {
    uint32_t id;
    std::span<std::byte> bytes;
  };
  std::deque<std::vector<std::byte>> flying, late;
  std::deque<Slot> slots;                            // posted by the receiver
  std::deque<FramePort::Completion> sent, received;  // of the sender, of the receiver
  bool torn = false;                                 // the last frame came in part
};

class Cable {
 public:
  explicit Cable(Weather weather, uint32_t seed = 1) : weather_(weather), random_(seed) {}

  void send(Lane& lane, uint32_t id, std::span<const std::byte> frame) {
    lane.sent.push_back({.received = false, .id = id});
    const std::vector<std::byte> copy(frame.begin(), frame.end());
    if (happens(weather_.lost) || tears(lane, frame.size())) return;
    const int times = happens(weather_.twice) ? 2 : 1;
    for (int i = 0; i < times; ++i)
      (happens(weather_.late) ? lane.late : lane.flying).push_back(copy);
  }

  // Brings what flies to where it goes; what is late comes after what was sent later.
  void deliver(Lane& lane) {
    while (!lane.flying.empty()) {
      if (lane.slots.empty() && weather_.reliable) return;
      const std::vector<std::byte> frame = std::move(lane.flying.front());
      lane.flying.pop_front();
      if (lane.slots.empty()) continue;
      const Lane::Slot slot = lane.slots.front();
      lane.slots.pop_front();
      EXPECT_LE(frame.size(), slot.bytes.size());
      std::copy(frame.begin(), frame.end(), slot.bytes.begin());
      lane.received.push_back({.received = true, .id = slot.id, .size = frame.size()});
    }
    std::swap(lane.flying, lane.late);
  }

  bool is_reliable() const { return weather_.reliable; }
  int pings = 0;

 private:
  bool tears(Lane& lane, size_t size_bytes) {
    if (std::exchange(lane.torn, false)) return true;
    const size_t packets = divide_up(size_bytes, kPacketBytes);
    bool lost = false;
    for (size_t i = 0; i < packets; ++i) lost |= happens(weather_.packet_lost);
    lane.torn = lost && packets > 1;
    return lost;
  }
  bool happens(double chance) { return std::uniform_real_distribution<double>()(random_) < chance; }

  Weather weather_;
  std::mt19937 random_;
};

class CablePort final : public FramePort {
 public:
  CablePort(Cable& cable, Lane& out, Lane& in) : cable_(cable), out_(out), in_(in) {}

  bool is_reliable() const override { return cable_.is_reliable(); }
  bool works_alone() const override { return cable_.is_reliable(); }
  Result<void> send(uint32_t id, std::span<const std::byte> frame) override {
    cable_.send(out_, id, frame);
    return {};
  }
  Result<void> receive(uint32_t id, std::span<std::byte> slot) override {
    in_.slots.push_back({id, slot});
    return {};
  }
  Result<void> ping(uint32_t id) override {
    ++cable_.pings;
    out_.sent.push_back({.received = false, .id = id});
    return {};
  }
  Result<std::optional<Completion>> poll() override {
    cable_.deliver(in_);
    for (std::deque<Completion>* queue : {&out_.sent, &in_.received}) {
      if (queue->empty()) continue;
      const Completion first = queue->front();
      queue->pop_front();
      return first;
    }
    return std::nullopt;
  }
  int event_fd() const override { return -1; }
  bool arm_events() override { return true; }
  void drain_events() override {}
  Result<void> check() override { return {}; }

 private:
  Cable& cable_;
  Lane& out_;
  Lane& in_;
};

// Two couriers, and the cables between them.
class Pair {
 public:
  explicit Pair(Weather weather, uint32_t rails = 1, uint32_t seed = 1, FrameRules rules = {})
      : rules_(rules), lanes_(2 * rails) {
    for (uint32_t r = 0; r < rails; ++r)
      cables_.push_back(std::make_unique<Cable>(weather, seed + r));
    for (int end = 0; end < 2; ++end) couriers_.push_back(make_courier(end, rails));
  }

  Courier& operator[](int end) { return *couriers_[static_cast<size_t>(end)]; }
  Lane& lane_from(int end) { return lanes_[static_cast<size_t>(end)]; }
  Cable& cable() { return *cables_[0]; }
  Courier::Time now() { return now_ += microseconds(10); }
  void pass(std::chrono::milliseconds time) { now_ += time; }

 private:
  std::unique_ptr<Courier> make_courier(int end, uint32_t rails) {
    FrameMemory memory(rules_, rails);
    std::vector<std::unique_ptr<FramePort>> ports;
    for (uint32_t r = 0; r < rails; ++r) {
      const auto own = static_cast<size_t>(end);
      ports.push_back(
          std::make_unique<CablePort>(*cables_[r], lanes_[2 * r + own], lanes_[2 * r + 1 - own]));
      for (uint32_t slot = 0; slot < rules_.receive_slots(); ++slot)
        EXPECT_TRUE(ports.back()->receive(slot, memory.received(r, slot)));
    }
    return std::make_unique<Courier>(std::move(memory), std::move(ports),
                                     Courier::Options{.session = 7, .peer = "rank 1", .now = now_});
  }

  const FrameRules rules_;
  std::vector<std::unique_ptr<Cable>> cables_;
  std::vector<Lane> lanes_;
  Courier::Time now_{};
  std::vector<std::unique_ptr<Courier>> couriers_;
};

std::vector<std::byte> payload_of(int end, int number) {
  std::mt19937 random(static_cast<uint32_t>(1000 * end + number));
  std::vector<std::byte> bytes(random() % 5 == 0 ? random() % (kMaxMessageBytes + 1)
                                                 : random() % 300);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

// Both ends send `count` messages and take the other's, in steps of random order.
void exchange(Pair& pair, int count, uint32_t seed) {
  struct Progress {
    int sent = 0, taken = 0;
  } ends[2];
  std::mt19937 random(seed);
  for (int64_t step = 0; step < 4'000'000; ++step) {
    const int end = static_cast<int>(random() % 2);
    Progress& progress = ends[end];
    if (progress.sent < count && random() % 2 == 0) {
      const auto payload = payload_of(end, progress.sent);
      const auto sent = pair[end].try_send({Kind::kPoint, payload.size(), payload}, pair.now());
      ASSERT_TRUE(sent) << sent.error().message;
      progress.sent += *sent ? 1 : 0;
      continue;
    }
    const auto message = pair[end].try_receive(pair.now());
    ASSERT_TRUE(message) << message.error().message;
    if (!*message) {
      if (ends[0].taken == count && ends[1].taken == count) return;
      continue;
    }
    const auto wanted = payload_of(1 - end, progress.taken++);
    ASSERT_EQ((*message)->payload.size(), wanted.size());
    ASSERT_TRUE(std::ranges::equal((*message)->payload, wanted));
    ASSERT_TRUE(pair[end].release(pair.now()));
  }
  FAIL() << "stuck after " << ends[0].taken << " and " << ends[1].taken << " of " << count;
}

struct Case {
  const char* name;
  Weather weather;
  uint32_t rails = 1;
  FrameRules rules = {};
};
constexpr Weather kStorm{.lost = 0.2, .twice = 0.2, .late = 0.2};
constexpr FrameRules kApple = kAppleRules.frames;
constexpr FrameRules kTiny{.frame_bytes = FrameRules::kLeastFrameBytes,
                           .window = FrameRules::kLeastWindow};

class CourierIn : public ::testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Weathers, CourierIn,
                         ::testing::Values(Case{"Reliable", {.reliable = true}},
                                           Case{"ReliableTwoRails", {.reliable = true}, 2},
                                           Case{"Calm", {}}, Case{"Loss3", {.lost = 0.03}},
                                           Case{"Loss40", {.lost = 0.4}},
                                           Case{"Late", {.late = 0.3}},
                                           Case{"Twice", {.twice = 0.3}}, Case{"Storm", kStorm},
                                           Case{"StormThreeRails", kStorm, 3},
                                           Case{"AppleCalm", {}, 1, kApple},
                                           Case{"AppleLoss3", {.lost = 0.03}, 1, kApple},
                                           Case{"AppleStorm", kStorm, 1, kApple},
                                           Case{"AppleStormThreeRails", kStorm, 3, kApple},
                                           Case{"TinyReliable", {.reliable = true}, 1, kTiny},
                                           Case{"TinyLoss3", {.lost = 0.03}, 1, kTiny}),
                         [](const auto& test) { return test.param.name; });

TEST_P(CourierIn, MessagesArriveInOrderAndExactlyOnce) {
  for (uint32_t seed = 1; seed <= 3; ++seed) {
    SCOPED_TRACE(seed);
    Pair pair(GetParam().weather, GetParam().rails, seed, GetParam().rules);
    exchange(pair, GetParam().rules == kTiny ? 20 : 400, seed);
  }
}

// Sends `bytes` from end 0 in messages as long as they may be; the other end has to get the same.
void transfer(Pair& pair, std::span<const std::byte> bytes) {
  size_t sent = 0, taken = 0;
  for (int64_t step = 0; taken < bytes.size(); ++step) {
    ASSERT_LT(step, 4'000'000) << "stuck after " << taken << " of " << bytes.size();
    const auto next = bytes.subspan(sent, std::min(kMaxMessageBytes, bytes.size() - sent));
    if (!next.empty()) {
      const auto out = pair[0].try_send({Kind::kPoint, bytes.size(), next}, pair.now());
      ASSERT_TRUE(out) << out.error().message;
      sent += *out ? next.size() : 0;
    }
    ASSERT_TRUE(pair[0].work(pair.now()));
    const auto message = pair[1].try_receive(pair.now());
    ASSERT_TRUE(message) << message.error().message;
    if (!*message) continue;
    const std::span<const std::byte> payload = (*message)->payload;
    ASSERT_TRUE(std::ranges::equal(payload, bytes.subspan(taken, payload.size())));
    taken += payload.size();
    ASSERT_TRUE(pair[1].release(pair.now()));
  }
}

TEST_P(CourierIn, TransfersOfAnySizeArrive) {
  const FrameRules rules = GetParam().rules;
  const size_t piece = rules.piece_bytes();
  std::vector<size_t> sizes{1, 2, 3, 1000, 4095, 4096, 4097, 65535, 65536, 65537, 300'001};
  for (size_t size : {piece - 1, piece, piece + 1, 2 * piece, 2 * piece + 1}) sizes.push_back(size);
  if (rules == kApple) sizes.push_back(4 << 20);
  Pair pair(GetParam().weather, GetParam().rails, /*seed=*/1, rules);
  for (size_t size : sizes) {
    SCOPED_TRACE(size);
    std::vector<std::byte> bytes(size);
    for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 31 + i / 251 + size);
    ASSERT_NO_FATAL_FAILURE(transfer(pair, bytes));
  }
}

TEST_P(CourierIn, ASenderRunsAWindowAheadAndNoFurther) {
  Pair pair(GetParam().weather, GetParam().rails, /*seed=*/1, GetParam().rules);
  uint32_t sent = 0;
  for (int i = 0; i < 1000; ++i) {
    if (*pair[0].try_send({Kind::kPoint, 0, {}}, pair.now())) ++sent;
    ASSERT_TRUE(pair[1].work(pair.now()));
  }
  EXPECT_EQ(sent, GetParam().rules.window);
}

TEST(Courier, WhatIsLostIsSentAgainThoughNothingElseIsSaid) {
  Pair pair({.lost = 0});
  ASSERT_TRUE(*pair[0].try_send({Kind::kPoint, 0, {}}, pair.now()));
  pair.lane_from(0).flying.clear();
  const auto due = pair[0].alarm();
  ASSERT_TRUE(due.has_value());
  EXPECT_LE(*due - pair.now(), std::chrono::milliseconds(20));
  pair.pass(std::chrono::milliseconds(20));
  ASSERT_TRUE(pair[0].work(pair.now()));
  EXPECT_TRUE(pair[1].try_receive(pair.now())->has_value());
}

TEST(Courier, AGapIsReportedAndFilledWithoutWaiting) {
  Pair pair({});
  ASSERT_TRUE(*pair[0].try_send({Kind::kPoint, 0, {}}, pair.now()));
  pair.lane_from(0).flying.clear();
  ASSERT_TRUE(*pair[0].try_send({Kind::kPoint, 0, {}}, pair.now()));
  ASSERT_TRUE(pair[1].work(pair.now()));  // sees the second, reports the first missing
  ASSERT_TRUE(pair[0].work(pair.now()));
  EXPECT_TRUE(pair[1].try_receive(pair.now())->has_value());
}

TEST(Courier, APeerThatKeepsSilentIsGivenUpByName) {
  Pair pair({});
  ASSERT_TRUE(*pair[0].try_send({Kind::kPoint, 0, {}}, pair.now()));
  Result<void> worked;
  int looks = 0;
  for (; worked && looks < 1000; ++looks) {
    pair.lane_from(0).flying.clear();
    pair.pass(std::chrono::milliseconds(10));
    worked = pair[0].work(pair.now());
  }
  ASSERT_FALSE(worked);
  EXPECT_EQ(worked.error().code, Code::kUnavailable);
  EXPECT_EQ(worked.error().message, "rank 1: does not answer over RDMA any more");
  EXPECT_NEAR(looks * 10, Courier::kSilenceLimit.count(), 50);
}

TEST(Courier, ThoughNobodyHasAnythingToSayEachHearsThatTheOtherLives) {
  Pair pair({.lost = 0.1});
  for (int i = 0; i < 3000; ++i) {
    pair.pass(std::chrono::milliseconds(10));
    for (int end : {0, 1}) ASSERT_TRUE(pair[end].work(pair.now()));
  }
  Result<void> worked;
  int looks = 0;
  for (; worked && looks < 1000; ++looks) {  // the other's host is gone
    pair.pass(std::chrono::milliseconds(10));
    worked = pair[0].work(pair.now());
  }
  EXPECT_LE(looks * 10, Courier::kSilenceLimit.count() + 50);
}

// Of frames of 16 packets 4 in 10 are lost, and what follows each.
TEST(Courier, LongFramesThatAreLostAgainAndAgainAreNoSilence) {
  Pair pair({.packet_lost = 0.03});
  const std::vector<std::byte> payload(60'000);
  int taken = 0;
  for (int i = 0; i < 100'000; ++i) {
    pair.pass(std::chrono::milliseconds(10));
    for (int end : {0, 1}) {
      const Result<void> worked = pair[end].work(pair.now());
      ASSERT_TRUE(worked) << worked.error().message << " after " << taken << " messages";
    }
    if (pair[0].is_delivered()) {
      ASSERT_TRUE(*pair[0].try_send({Kind::kPoint, payload.size(), payload}, pair.now()));
    }
    const auto message = pair[1].try_receive(pair.now());
    ASSERT_TRUE(message) << message.error().message;
    if (!*message) continue;
    ++taken;
    ASSERT_TRUE(pair[1].release(pair.now()));
  }
  EXPECT_GT(taken, 5'000);
}

TEST(Courier, WhoDidNotListenHasHeardNoSilence) {
  Pair pair({});
  pair.pass(std::chrono::seconds(5));
  EXPECT_TRUE(pair[0].work(pair.now()));
}

TEST(Courier, ADeviceThatWorksAloneIsAskedWhetherItLivesWhenNothingElseTells) {
  Pair pair({.reliable = true});
  ASSERT_TRUE(pair[0].work(pair.now()));
  EXPECT_EQ(pair.cable().pings, 0);
  for (int i = 0; i < 100; ++i) {
    pair.pass(std::chrono::milliseconds(10));
    ASSERT_TRUE(pair[0].work(pair.now()));
  }
  EXPECT_NEAR(pair.cable().pings, 1000 / Courier::kPulse.count(), 2);
}

TEST(Courier, APeerThatAnswersButTakesNothingIsWaitedForWithoutEnd) {
  Pair pair({.lost = 0.1});
  for (uint32_t i = 0; i < FrameRules().window; ++i)
    ASSERT_TRUE(*pair[0].try_send({Kind::kPoint, 0, {}}, pair.now()));
  for (int i = 0; i < 3000; ++i) {
    pair.pass(std::chrono::milliseconds(10));
    for (int end : {0, 1}) {
      const auto worked = pair[end].work(pair.now());
      ASSERT_TRUE(worked) << worked.error().message;
    }
  }
  EXPECT_TRUE(pair[0].is_delivered());
}

// What a peer that lies may send.
class Forged : public ::testing::Test {
 protected:
  Result<void> send(const FrameHead& head, std::optional<Header> header, size_t payload = 0) {
    std::vector<std::byte> frame(header ? kFrameOverhead + payload : FrameHead::kBytes);
    write_frame_head(head, frame.data());
    if (header)
      write_header(*header, std::span(frame).subspan<FrameHead::kBytes, Header::kBytes>());
    pair_.cable().send(pair_.lane_from(0), 0, frame);
    return pair_[1].work(pair_.now());
  }

  Pair pair_{{}, 1, 1, kTiny};
};

TEST_F(Forged, ReportsOfMoreThanWasSentAreNoticed) {
  EXPECT_EQ(send({.arrived = 1, .session = 7}, std::nullopt).error().code, Code::kDataLoss);
}

TEST_F(Forged, MessagesBeyondTheWindowAreNoticed) {
  EXPECT_EQ(send({.session = 7}, Header{.sequence = kTiny.window}).error().code, Code::kDataLoss);
}

TEST_F(Forged, LengthsThatDoNotFitAreNoticed) {
  ASSERT_TRUE(send({.session = 7}, Header{.total = 100, .length = 100}, 99));
  EXPECT_EQ(pair_[1].try_receive(pair_.now()).error().code, Code::kDataLoss);
}

TEST_F(Forged, PiecesThatDoNotBelongTogetherAreNoticed) {
  const size_t piece = kTiny.piece_bytes();
  const auto length = static_cast<uint32_t>(piece + 50);
  ASSERT_TRUE(send({.session = 7}, Header{.total = 1000, .length = length}, piece));
  ASSERT_FALSE(pair_[1].try_receive(pair_.now())->has_value());
  ASSERT_TRUE(send({.session = 7}, Header{.sequence = 1, .total = 1000, .length = 49}, 49));
  EXPECT_EQ(pair_[1].try_receive(pair_.now()).error().code, Code::kDataLoss);
}

TEST_F(Forged, FramesOfAnotherSessionAreIgnored) {
  ASSERT_TRUE(send({.arrived = 99, .session = 8}, Header{.sequence = 99}));
  EXPECT_FALSE(pair_[1].try_receive(pair_.now())->has_value());
}

TEST(RoundTrips, PatienceFollowsWhatIsSeenAndDoubles) {
  RoundTrips trips;
  EXPECT_EQ(trips.patience(0), std::chrono::milliseconds(10));
  for (int i = 0; i < 100; ++i) trips.add(std::chrono::milliseconds(5));
  EXPECT_NEAR(std::chrono::duration<double>(trips.patience(0)).count(), 5e-3, 1e-4);
  EXPECT_NEAR(std::chrono::duration<double>(trips.patience(2)).count(), 20e-3, 1e-3);
  EXPECT_EQ(trips.patience(30), std::chrono::milliseconds(100));
}

}  // namespace
}  // namespace cohort::transport
