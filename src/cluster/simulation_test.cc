// Many cores on a simulated lossy network, in virtual time. A failure prints its seed; the same seed fails again.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <queue>
#include <set>

#include "base/json.h"
#include "cluster/core.h"

namespace cohort::cluster {
namespace {

constexpr TimeMs kTickMs = 50;

class SimMesh {
 public:
  SimMesh(size_t count, uint64_t seed, double loss) : random_(seed), loss_(loss) {
    for (size_t i = 0; i < count; ++i) start(i, 1'000'000 + i);
    // Discovery: everyone hears of two others that started before.
    for (size_t i = 1; i < count; ++i) {
      for (int k = 0; k < 2; ++k) introduce(i, random_.below(i));
    }
  }

  static DeviceId id_of(size_t index) { return fmt::format("{:08x}", index); }

  void start(size_t index, uint64_t boot_unix_ms) {
    const DeviceId id = id_of(index);
    cores_[id] = std::make_unique<Core>(Identity{id, boot_unix_ms}, CoreOptions{}, random_.next());
  }

  void introduce(size_t a, size_t b) {
    inputs_[id_of(a)].links_up.push_back(id_of(b));
    inputs_[id_of(b)].links_up.push_back(id_of(a));
  }

  void kill(size_t index) {
    cores_.erase(id_of(index));
    inputs_.erase(id_of(index));
  }

  // Devices in different sides cannot hear each other; an empty map heals.
  void partition(std::map<DeviceId, int> sides) { sides_ = std::move(sides); }

  void run(TimeMs duration_ms) {
    const TimeMs end = now_ + duration_ms;
    while (now_ < end) {
      now_ += kTickMs;
      while (!flying_.empty() && flying_.top().at <= now_) {
        const Flight& flight = flying_.top();
        if (cores_.contains(flight.to))
          inputs_[flight.to].received.emplace_back(flight.from, flight.message);
        flying_.pop();
      }
      for (auto& [id, core] : cores_) {
        for (Envelope& envelope : core->step(now_, std::exchange(inputs_[id], {})).send) {
          post(id, std::move(envelope));
        }
      }
      ++rounds_;
    }
  }

  // Rounds of kTickMs until the condition holds, or -1 after `limit_ms`.
  int run_until(TimeMs limit_ms, const auto& holds, TimeMs look_every_ms = kTickMs) {
    for (TimeMs spent = 0; spent < limit_ms; spent += look_every_ms) {
      if (holds()) return static_cast<int>(spent / kTickMs);
      run(look_every_ms);
    }
    return holds() ? static_cast<int>(limit_ms / kTickMs) : -1;
  }

  bool everyone_sees_everyone() const {
    return std::all_of(cores_.begin(), cores_.end(), [this](const auto& entry) {
      const auto& live = entry.second->membership().live();
      return std::equal(live.begin(), live.end(), cores_.begin(), cores_.end(),
                        [](const DeviceId& id, const auto& core) { return id == core.first; });
    });
  }

  bool one_leader() const {
    const auto leader = cores_.begin()->second->leader();
    return leader && cores_.contains(*leader) &&
           std::all_of(cores_.begin(), cores_.end(),
                       [&](const auto& entry) { return entry.second->leader() == leader; });
  }

  bool same_documents() const {
    const uint64_t hash = cores_.begin()->second->documents().hash();
    return std::all_of(cores_.begin(), cores_.end(),
                       [&](const auto& entry) { return entry.second->documents().hash() == hash; });
  }

  Core& core(size_t index) { return *cores_.at(id_of(index)); }
  Input& input(size_t index) { return inputs_[id_of(index)]; }
  uint64_t bytes() const { return bytes_; }  // sent by all so far
  TimeMs now() const { return now_; }

 private:
  struct Flight {
    TimeMs at;
    uint64_t order;
    DeviceId from, to;
    Message message;
    bool operator<(const Flight& other) const {
      return std::pair(at, order) > std::pair(other.at, other.order);
    }
  };

  void post(const DeviceId& from, Envelope envelope) {
    bytes_ += 40 + 48 * envelope.message.updates.size() + 80 * envelope.message.digest.size();
    for (const Document& document : envelope.message.documents) bytes_ += 80 + document.body.size();
    if (random_.chance(loss_)) return;
    if (!sides_.empty() && sides_[from] != sides_[envelope.to]) return;
    const TimeMs delay = 1 + static_cast<TimeMs>(random_.below(40));
    flying_.push(
        {now_ + delay, ++order_, from, std::move(envelope.to), std::move(envelope.message)});
  }

  Random random_;
  double loss_;
  TimeMs now_ = 0;
  uint64_t rounds_ = 0, bytes_ = 0, order_ = 0;
  std::map<DeviceId, std::unique_ptr<Core>> cores_;
  std::map<DeviceId, Input> inputs_;
  std::map<DeviceId, int> sides_;
  std::priority_queue<Flight> flying_;
};

class Seeds : public testing::TestWithParam<uint64_t> {};
INSTANTIATE_TEST_SUITE_P(Simulation, Seeds, testing::Range<uint64_t>(1, 6));

TEST_P(Seeds, FiveDevicesFindEachOtherInUnderTwoSeconds) {
  SimMesh mesh(5, GetParam(), 0.05);
  EXPECT_GE(mesh.run_until(2000, [&] { return mesh.everyone_sees_everyone(); }), 0);
  EXPECT_GE(mesh.run_until(2000, [&] { return mesh.one_leader(); }), 0);
  EXPECT_EQ(mesh.core(3).leader(), SimMesh::id_of(0)) << "the longest-lived leads";
}

TEST_P(Seeds, ANewLeaderTakesOverWithThePlanInTwoSecondsOfTheOldOnesDeath) {
  SimMesh mesh(5, GetParam(), 0.05);
  ASSERT_GE(mesh.run_until(4000, [&] { return mesh.one_leader(); }), 0);
  mesh.input(0).plan_body = R"({"instances":["a"]})";
  mesh.run(1000);
  mesh.kill(0);
  for (size_t i = 1; i < 5; ++i) mesh.input(i).links_lost.push_back(SimMesh::id_of(0));
  EXPECT_GE(mesh.run_until(2000, [&] { return mesh.one_leader(); }), 0);
  EXPECT_EQ(mesh.core(4).leader(), SimMesh::id_of(1));
  ASSERT_GE(mesh.run_until(2000, [&] { return mesh.same_documents(); }), 0);
  EXPECT_EQ(mesh.core(4).documents().find(kPlanKey)->body, R"({"instances":["a"]})");
}

TEST_P(Seeds, ASilentDeviceIsDeadForAllWithinTwoSeconds) {
  SimMesh mesh(5, GetParam(), 0);
  ASSERT_GE(mesh.run_until(4000, [&] { return mesh.everyone_sees_everyone(); }), 0);
  mesh.run(500);
  mesh.kill(4);  // a cut cable: nobody is told
  EXPECT_GE(mesh.run_until(2200, [&] { return mesh.everyone_sees_everyone(); }), 0);
}

TEST_P(Seeds, APartitionHealsToOneLeaderAndTheLosersPlanIsHandedOver) {
  SimMesh mesh(5, GetParam(), 0.02);
  ASSERT_GE(
      mesh.run_until(4000, [&] { return mesh.one_leader() && mesh.everyone_sees_everyone(); }), 0);
  std::map<DeviceId, int> sides;
  for (size_t i = 0; i < 5; ++i) sides[SimMesh::id_of(i)] = i < 2 ? 0 : 1;
  mesh.partition(sides);
  mesh.run(4000);
  EXPECT_EQ(mesh.core(1).leader(), SimMesh::id_of(0));
  EXPECT_EQ(mesh.core(4).leader(), SimMesh::id_of(2));
  mesh.partition({});
  mesh.introduce(1, 3);  // discovery goes on all the time
  EXPECT_GE(mesh.run_until(4000,
                           [&] {
                             return mesh.everyone_sees_everyone() && mesh.one_leader() &&
                                    mesh.same_documents();
                           }),
            0);
  EXPECT_EQ(mesh.core(0).leader(), SimMesh::id_of(2)) << "the higher term leads";
}

TEST_P(Seeds, AReturningDeviceRejoinsUnderTheSameId) {
  SimMesh mesh(4, GetParam(), 0.02);
  ASSERT_GE(mesh.run_until(4000, [&] { return mesh.everyone_sees_everyone(); }), 0);
  mesh.kill(3);
  ASSERT_GE(mesh.run_until(4000, [&] { return mesh.everyone_sees_everyone(); }), 0);
  mesh.start(3, 2'000'000);
  mesh.introduce(3, 0);
  EXPECT_GE(mesh.run_until(4000, [&] { return mesh.everyone_sees_everyone(); }), 0);
}

TEST(Simulation, ASlowDeviceRefutesSuspicion) {
  SimMesh mesh(4, 7, 0);
  ASSERT_GE(mesh.run_until(4000, [&] { return mesh.everyone_sees_everyone(); }), 0);
  for (size_t i = 0; i < 3; ++i) mesh.input(i).links_lost.push_back(SimMesh::id_of(3));
  mesh.run(kTickMs);
  EXPECT_EQ(mesh.core(0).membership().members().at(SimMesh::id_of(3)).state, MemberState::kSuspect);
  EXPECT_GE(
      mesh.run_until(1500,
                     [&] {
                       return mesh.core(0).membership().members().at(SimMesh::id_of(3)).state ==
                              MemberState::kAlive;
                     }),
      0);
}

TEST(Simulation, ASupersededLeaderGivesItsPlanBack) {
  Core loser({"a", 1}, {}, 1);
  for (TimeMs now = 0; now <= 1000; now += kTickMs) loser.step(now, {});
  ASSERT_TRUE(loser.is_leader());
  loser.step(1050, {.plan_body = R"({"instances":["mine"]})"});
  Message rumours;
  rumours.type = static_cast<uint8_t>(MessageType::kRumours);
  rumours.documents = {{std::string(kPlanKey), {9, "b", 1}, "{}"}};
  const Output output = loser.step(1100, {.received = {{"b", rumours}}});
  EXPECT_EQ(output.superseded_plan, R"({"instances":["mine"]})");
  EXPECT_FALSE(loser.is_leader());
}

// Rounds until all see each other and one leads. In parts, since looking costs as much as a round.
int rounds_until_whole(SimMesh& mesh) {
  const auto whole = [&] { return mesh.everyone_sees_everyone() && mesh.one_leader(); };
  return mesh.run_until(60'000, whole, 500);
}

TEST(Simulation, AThousandDevicesConvergeUnderLossAndDeath) {
  const uint64_t seed = 7;
  SCOPED_TRACE(fmt::format("seed {}", seed));
  SimMesh mesh(1000, seed, 0.05);
  const int joined = rounds_until_whole(mesh);
  ASSERT_GE(joined, 0);
  const uint64_t join_bytes = mesh.bytes();
  for (size_t i = 7; i < 1000; i += 10) mesh.kill(i);
  const int buried = rounds_until_whole(mesh);
  ASSERT_GE(buried, 0);
  fmt::print(
      "1000 devices, 5% loss, rounds of {} ms: all joined after {} and {} KiB a device; 10% dead "
      "gone from every list after {} and {} KiB\n",
      kTickMs, joined, join_bytes / 1000 >> 10, buried, (mesh.bytes() - join_bytes) / 900 >> 10);
}

TEST(Simulation, ThreeHundredDevicesAreWholeAgainAfterAPartition) {
  const uint64_t seed = 42;
  SCOPED_TRACE(fmt::format("seed {}", seed));
  SimMesh mesh(300, seed, 0.05);
  ASSERT_GE(rounds_until_whole(mesh), 0);
  std::map<DeviceId, int> sides;
  for (size_t i = 0; i < 300; ++i) sides[SimMesh::id_of(i)] = i < 120 ? 0 : 1;
  mesh.partition(std::move(sides));
  mesh.run(10'000);
  ASSERT_FALSE(mesh.one_leader()) << "each side has its own";
  mesh.partition({});
  for (size_t i = 0; i < 5; ++i) mesh.introduce(i, 150 + i);  // discovery goes on all the time
  const uint64_t bytes = mesh.bytes();
  const int healed = rounds_until_whole(mesh);
  ASSERT_GE(healed, 0);
  fmt::print("300 devices, 5% loss: whole again after {} rounds and {} KiB a device\n", healed,
             (mesh.bytes() - bytes) / 300 >> 10);
}

TEST(Messages, SurviveTheRoundTripThroughJson) {
  Message message;
  message.type = static_cast<uint8_t>(MessageType::kPing);
  message.sequence = 77;
  message.updates = {{"abc", 5, 1}};
  message.documents = {{"device/abc", {1, "abc", 2}, "{}"}};
  const auto back = from_json<Message>(parse_json(dump_json(to_json(message))).value());
  ASSERT_TRUE(back);
  EXPECT_EQ(back->documents, message.documents);
  EXPECT_EQ(back->sequence, 77u);
}

}  // namespace
}  // namespace cohort::cluster
