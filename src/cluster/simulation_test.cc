// Many cores on a simulated lossy network, in virtual time. A failure prints its seed; the same seed fails again.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>
#include <queue>
#include <set>

#include "base/json.h"
#include "cluster/core.h"

namespace cohort::cluster {
namespace {

constexpr TimeMs kTickMs = 50;

// Cores, and links between them as a mesh makes them: those that the devices want of each other, found by sightings and by
// membership. What is sent to a device without a link is lost; a link whose other end is silent breaks.
class SimMesh {
 public:
  static constexpr TimeMs kManageMs = 200;    // how often links are looked after
  static constexpr TimeMs kSilenceMs = 1500;  // until a link breaks
  static constexpr TimeMs kUnusedMs = 3000;   // until a link that is not wanted is closed

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
    Device& device = devices_[id];
    device.core = std::make_unique<Core>(Identity{id, boot_unix_ms}, CoreOptions{}, random_.next());
  }

  void introduce(size_t a, size_t b) {
    devices_.at(id_of(a)).sighted.insert(id_of(b));
    devices_.at(id_of(b)).sighted.insert(id_of(a));
  }

  void kill(size_t index) { devices_.erase(id_of(index)); }

  // Devices in different sides cannot hear each other; an empty map heals.
  void partition(std::map<DeviceId, int> sides) {
    sides_ = std::move(sides);
    for (auto& [id, device] : devices_) device.sighted.clear();
  }

  void run(TimeMs duration_ms) {
    const TimeMs end = now_ + duration_ms;
    while (now_ < end) {
      now_ += kTickMs;
      deliver();
      for (auto& [id, device] : devices_) {
        if (now_ >= device.next_look) manage(id, device);
        Input input = std::exchange(device.input, {});
        for (Envelope& envelope : device.core->step(now_, std::move(input)).send)
          post(id, std::move(envelope));
      }
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
    return std::all_of(devices_.begin(), devices_.end(), [this](const auto& entry) {
      const auto& live = entry.second.core->membership().live();
      return std::equal(live.begin(), live.end(), devices_.begin(), devices_.end(),
                        [](const DeviceId& id, const auto& device) { return id == device.first; });
    });
  }

  bool one_leader() const {
    const auto leader = devices_.begin()->second.core->leader();
    return leader && devices_.contains(*leader) &&
           std::all_of(devices_.begin(), devices_.end(),
                       [&](const auto& entry) { return entry.second.core->leader() == leader; });
  }

  bool same_documents() const {
    const uint64_t hash = devices_.begin()->second.core->documents().hash();
    return std::all_of(devices_.begin(), devices_.end(), [&](const auto& entry) {
      return entry.second.core->documents().hash() == hash;
    });
  }

  size_t most_links() const {
    size_t most = 0;
    for (const auto& [id, device] : devices_) most = std::max(most, device.links.size());
    return most;
  }

  Core& core(size_t index) { return *devices_.at(id_of(index)).core; }
  Input& input(size_t index) { return devices_.at(id_of(index)).input; }
  uint64_t bytes() const { return bytes_; }  // sent by all so far
  TimeMs now() const { return now_; }

 private:
  struct Link {
    bool dialed = false;  // by this end, which closes it
    TimeMs last_heard = 0, last_wanted = 0;
  };
  struct Device {
    std::unique_ptr<Core> core;
    Input input;
    TimeMs next_look = 0;
    std::set<DeviceId> sighted, wanted;
    std::vector<DeviceId> live;  // that `wanted` was made of
    std::map<DeviceId, Link> links;
  };
  struct Flight {
    TimeMs at;
    uint64_t order;
    DeviceId from, to;
    Message message;
    bool operator<(const Flight& other) const {
      return std::pair(at, order) > std::pair(other.at, other.order);
    }
  };

  bool connected(const DeviceId& a, const DeviceId& b) {
    return devices_.contains(a) && devices_.contains(b) &&
           (sides_.empty() || sides_[a] == sides_[b]);
  }

  void deliver() {
    while (!flying_.empty() && flying_.top().at <= now_) {
      const Flight& flight = flying_.top();
      const auto to = devices_.find(flight.to);
      if (to != devices_.end()) to->second.input.received.emplace_back(flight.from, flight.message);
      flying_.pop();
    }
  }

  void manage(const DeviceId& id, Device& device) {
    device.next_look = now_ + kManageMs + static_cast<TimeMs>(random_.below(kTickMs));
    const std::vector<DeviceId>& live = device.core->membership().live();
    if (device.live != live) {
      device.live = live;
      device.wanted = neighbours(id, {live.begin(), live.end()});
    }
    for (const DeviceId& stranger : device.sighted) {
      if (!device.core->membership().is_live(stranger)) device.wanted.insert(stranger);
    }
    device.sighted.clear();
    for (auto& [other, link] : device.links) {
      if (connected(id, other)) link.last_heard = now_;
      if (device.wanted.contains(other)) link.last_wanted = now_;
    }
    std::erase_if(device.links, [&](const auto& entry) {
      const bool lost = entry.second.last_heard + kSilenceMs <= now_;
      if (lost) device.input.links_lost.push_back(entry.first);
      return lost;
    });
    close_unwanted(id, device);
    for (const DeviceId& other : device.wanted) {
      if (device.links.contains(other) || !connected(id, other)) continue;
      link(id, other, true);
      link(other, id, false);
    }
  }

  void link(const DeviceId& from, const DeviceId& to, bool dialed) {
    Device& device = devices_.at(from);
    device.links[to] = {.dialed = dialed, .last_heard = now_, .last_wanted = now_};
    device.input.links_up.push_back(to);
  }

  void close_unwanted(const DeviceId& id, Device& device) {
    std::erase_if(device.links, [&](const auto& entry) {
      const auto& [other, link] = entry;
      if (!link.dialed || link.last_wanted + kUnusedMs > now_ || !connected(id, other))
        return false;
      device.input.links_closed.push_back(other);
      devices_.at(other).links.erase(id);
      devices_.at(other).input.links_closed.push_back(id);
      return true;
    });
  }

  void post(const DeviceId& from, Envelope envelope) {
    bytes_ += 40 + 48 * envelope.message.updates.size() + 80 * envelope.message.digest.size();
    for (const Document& document : envelope.message.documents) bytes_ += 80 + document.body.size();
    if (random_.chance(loss_) || !connected(from, envelope.to)) return;
    if (!devices_.at(from).links.contains(envelope.to)) return;
    const TimeMs delay = 1 + static_cast<TimeMs>(random_.below(40));
    flying_.push(
        {now_ + delay, ++order_, from, std::move(envelope.to), std::move(envelope.message)});
  }

  Random random_;
  double loss_;
  TimeMs now_ = 0;
  uint64_t bytes_ = 0, order_ = 0;
  std::map<DeviceId, Device> devices_;
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

uint64_t number_or(const char* variable, uint64_t usual) {
  const char* given = std::getenv(variable);
  return given == nullptr ? usual : std::strtoull(given, nullptr, 10);
}

// COHORT_SEED repeats or varies a run.
uint64_t seed_or(uint64_t usual) { return number_or("COHORT_SEED", usual); }

// Rounds until all see each other and one leads. In parts, since looking costs as much as a round.
int rounds_until_whole(SimMesh& mesh) {
  const auto whole = [&] { return mesh.everyone_sees_everyone() && mesh.one_leader(); };
  return mesh.run_until(60'000, whole, 500);
}

TEST(Simulation, AThousandDevicesConvergeUnderLossAndDeath) {
  const uint64_t seed = seed_or(7);
  SCOPED_TRACE(fmt::format("seed {}", seed));
  SimMesh mesh(1000, seed, 0.05);
  const int joined = rounds_until_whole(mesh);
  ASSERT_GE(joined, 0);
  const uint64_t join_bytes = mesh.bytes();
  mesh.run(2 * SimMesh::kUnusedMs);
  EXPECT_LE(mesh.most_links(), 2 * kRings) << "links that nobody needs are closed";
  const uint64_t settled_bytes = mesh.bytes();
  mesh.run(2000);
  const uint64_t idle_bytes = mesh.bytes() - settled_bytes;
  for (size_t i = 7; i < 1000; i += 10) mesh.kill(i);
  const int buried = rounds_until_whole(mesh);
  ASSERT_GE(buried, 0);
  fmt::print(
      "1000 devices, 5% loss, rounds of {} ms: all joined after {} and {} KiB a device; idle {} "
      "B/s; "
      "10% dead gone from every list after {} and {} KiB\n",
      kTickMs, joined, join_bytes / 1000 >> 10, idle_bytes / 2000, buried,
      (mesh.bytes() - settled_bytes - idle_bytes) / 900 >> 10);
}

// COHORT_DEVICES=1000 takes a minute.
TEST(Simulation, HundredsOfDevicesAreWholeAgainAfterAPartition) {
  const size_t count = number_or("COHORT_DEVICES", 300);
  const uint64_t seed = seed_or(42);
  SCOPED_TRACE(fmt::format("seed {}", seed));
  SimMesh mesh(count, seed, 0.05);
  ASSERT_GE(rounds_until_whole(mesh), 0);
  std::map<DeviceId, int> sides;
  for (size_t i = 0; i < count; ++i) sides[SimMesh::id_of(i)] = i < count * 2 / 5 ? 0 : 1;
  mesh.partition(std::move(sides));
  mesh.run(10'000);
  ASSERT_FALSE(mesh.one_leader()) << "each side has its own";
  mesh.partition({});
  for (size_t i = 0; i < 5; ++i)
    mesh.introduce(i, count / 2 + i);  // discovery goes on all the time
  const uint64_t bytes = mesh.bytes();
  const int healed = rounds_until_whole(mesh);
  ASSERT_GE(healed, 0);
  fmt::print("{} devices, 5% loss: whole again after {} rounds and {} KiB a device\n", count,
             healed, (mesh.bytes() - bytes) / count >> 10);
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
