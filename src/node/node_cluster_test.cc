// Several devices in one process: real meshes over loopback, fake runners.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <atomic>

#include "node/node.h"
#include "node/testing/fake_catalog.h"
#include "node/testing/loop_test.h"

namespace cohort::node {
namespace {

using std::chrono::milliseconds;
using testing::ask;
using testing::kLongEnough;

// A port whose device is named after the node's.
cluster::RdmaDocument rdma_of(const std::string& name, const std::string& state = "down") {
  cluster::RdmaDocument rdma{.problem = state == "down" ? "no cable" : ""};
  rdma.ports.push_back({.device = "rxe_" + name,
                        .state = state,
                        .fabric = "ethernet",
                        .address = state == "down" ? "" : "10.0.0.1"});
  return rdma;
}

class NodeClusterTest : public testing::LoopTest {
 public:
  // Devices "a", "b"..., each told of those before it.
  void make_nodes(size_t count) {
    std::vector<std::string> peers;
    for (size_t i = 0; i < count; ++i) {
      NodeOptions options{.name = std::string(1, static_cast<char>('a' + i))};
      options.runner_command = runner_command_;
      options.restart.first_delay = milliseconds(1);
      mesh::MeshOptions mesh{.host = "127.0.0.1", .port = 0, .peers = peers, .beacons = false};
      options.mesh = std::move(mesh);
      options.measure_speed = [] {
        return DeviceSpeed{.read_gb_per_s = 20, .step = {.read_gb_per_s = 20}, .backends = {"cpu"}};
      };
      options.measure_memory = [this](const std::vector<MeasuringWindow>& windows) {
        ++readings_;
        std::vector<double> gb_per_s;  // together, alone, together...
        while (gb_per_s.size() < windows.size())
          gb_per_s.push_back(gb_per_s.size() % 2 == 0 ? 10 : 15);
        gb_per_s.front() = 2;  // taken while a core was away
        return Result<std::vector<double>>(std::move(gb_per_s));
      };
      options.examine_rdma = [name = options.name, state = port_state_] {
        return rdma_of(name, state);
      };
      nodes_.push_back(
          Node::create(loop_.get_executor(), options, testing::fake_catalog()).value());
      peers.push_back(fmt::format("127.0.0.1:{}", nodes_.back()->cluster().mesh_port()));
    }
  }

  void run(size_t count, net::Task<void> body) {
    make_nodes(count);
    run_loop(run_and_close(std::move(body)));
  }

  net::Task<void> run_and_close(net::Task<void> body) {
    const bool joined = co_await eventually([this] { return all_joined(); });
    EXPECT_TRUE(joined) << "the devices do not find each other";
    if (joined) co_await std::move(body);
    for (const auto& node : nodes_) {
      if (node) co_await node->close();
    }
  }

  bool all_joined() const {
    for (const auto& node : nodes_) {
      if (node->cluster().devices().size() != nodes_.size()) return false;
      if (!node->cluster().shell().leader()) return false;
      if (node->cluster().shell().leader() != nodes_[0]->cluster().shell().leader()) return false;
    }
    return true;
  }

  net::Task<std::string> collect(Generation& generation) {
    std::string text;
    while (!generation.finished()) {
      const auto deltas = co_await generation.next(net::Clock::now() + kLongEnough);
      if (!deltas) co_return "error: " + deltas.error().message;
      for (const auto& delta : *deltas) text += delta.text;
    }
    co_return text;
  }

  // Ten tokens more, and every token's number follows the last one's: nothing lost, nothing twice.
  net::Task<void> expect_goes_on(Generation& generation) {
    const auto& tokens = generation.choices()[0].tokens;
    const size_t sent = tokens.size();
    while (tokens.size() < sent + 10) {
      const auto more = co_await generation.next(net::Clock::now() + kLongEnough);
      EXPECT_TRUE(more) << more.error().message;
      if (!more) co_return;
    }
    for (size_t i = 0; i < tokens.size(); ++i) EXPECT_EQ(tokens[i], static_cast<int32_t>(i));
  }

  net::Task<Result<InstanceStatus>> place(size_t from, cluster::InstanceWishes wishes) {
    PlaceWish wish;
    wish.model = "echo";
    wish.wishes = std::move(wishes);
    Result<InstanceStatus> placed = co_await nodes_[from]->place(std::move(wish), true);
    co_return placed;
  }

  Node& leader() {
    for (const auto& node : nodes_) {
      if (node && node->cluster().shell().leads()) return *node;
    }
    return *nodes_[0];
  }

  bool all_calibrated() const {
    const cluster::Devices& devices = nodes_[0]->cluster().devices();
    return std::all_of(devices.begin(), devices.end(),
                       [](const auto& device) { return device.second.step.read_gb_per_s > 0; });
  }

  // What one device says of its link with another; nothing when there is none.
  const cluster::LinkDocument* link(size_t of, size_t from, size_t to) const {
    const auto& devices = nodes_[of]->cluster().devices();
    const auto found = devices.find(nodes_[from]->device_id());
    return found == devices.end() ? nullptr : found->second.link(nodes_[to]->device_id());
  }

  std::vector<std::string> runner_command_ = {COHORT_FAKE_RUNNER};
  std::string port_state_ = "down";  // of everybody's RDMA port
  std::vector<std::unique_ptr<Node>> nodes_;
  std::atomic<int> readings_{0};
};

cluster::InstanceWishes only(std::string device) {
  cluster::InstanceWishes wishes;
  wishes.only.push_back(std::move(device));
  return wishes;
}

cluster::InstanceWishes pipeline_of(int devices) {
  cluster::InstanceWishes wishes;
  wishes.sharding = "pipeline";
  wishes.devices = devices;
  return wishes;
}

TEST_F(NodeClusterTest, APlanIsMadeWithWhatMemoryGivesAllDevicesNow) {
  run(2, [](NodeClusterTest& t) -> net::Task<void> {
    co_await t.eventually([&] { return t.all_calibrated(); });
    PlaceWish wish{.model = "echo"};
    const auto planned = co_await t.nodes_[0]->plan(wish);
    EXPECT_TRUE(planned);
    EXPECT_EQ(t.readings_, 2);
    for (const auto& [id, device] : t.nodes_[0]->cluster().devices()) {
      EXPECT_EQ(device.memory.together_gb_per_s, 10);
      EXPECT_EQ(device.memory.read_gb_per_s, 15);
    }
    const bool is_shared = planned && planned->topology.devices[0].machine_bytes_per_s == 20e9;
    EXPECT_TRUE(is_shared) << "both read 10 GB/s at once";
    co_await t.nodes_[1]->plan(wish);
    EXPECT_LE(t.readings_, 4);
    const int before = t.readings_;
    co_await t.nodes_[1]->plan(std::move(wish));
    EXPECT_EQ(t.readings_, before) << "that was measured a moment ago";
  }(*this));
}

TEST_F(NodeClusterTest, EveryDeviceHearsWhatRdmaTheOthersHave) {
  run(2, [](NodeClusterTest& t) -> net::Task<void> {
    const bool heard = co_await t.eventually([&] {
      for (const auto& node : t.nodes_) {
        for (const auto& [id, device] : node->cluster().devices()) {
          if (device.rdma != rdma_of(device.name)) return false;
        }
      }
      return true;
    });
    EXPECT_TRUE(heard);
  }(*this));
}

TEST_F(NodeClusterTest, APairWithRdmaPortsIsMeasuredAndBothSayWhatCameOfIt) {
  port_state_ = "active";
  run(2, [](NodeClusterTest& t) -> net::Task<void> {
    const auto is_told = [&](size_t of, size_t from) {
      const cluster::LinkDocument* link = t.link(of, from, 1 - from);
      return link != nullptr && link->ways.size() >= kProbedTransports.size() &&
             std::ranges::count(link->ways, "verbs", &cluster::WayDocument::transport) == 1;
    };
    const bool told = co_await t.eventually(
        [&] { return is_told(0, 0) && is_told(0, 1) && is_told(1, 0) && is_told(1, 1); });
    EXPECT_TRUE(told);
    if (!told) co_return;
    const auto& ways = t.link(0, 1, 0)->ways;
    const auto way = std::ranges::find(ways, "verbs", &cluster::WayDocument::transport);
    EXPECT_EQ(way->rtt_us_p50, 6);
    EXPECT_EQ(way->bandwidth_mbit_per_s, 40'000);
    EXPECT_TRUE(t.link(0, 1, 0)->missing_ways.empty());
  }(*this));
}

TEST_F(NodeClusterTest, WhyAPairIsNotReachedOverRdmaIsKnownToBoth) {
  port_state_ = "active";
  runner_command_.push_back("unreachable");
  run(2, [](NodeClusterTest& t) -> net::Task<void> {
    const auto is_told = [&](size_t from) {
      const cluster::LinkDocument* link = t.link(0, from, 1 - from);
      return link != nullptr && link->missing_ways.size() == kProbedTransports.size();
    };
    const bool told = co_await t.eventually([&] { return is_told(0) && is_told(1); });
    EXPECT_TRUE(told);
    for (const size_t from : {0, 1}) {
      if (!told) co_return;
      EXPECT_EQ(t.link(0, from, 1 - from)->missing_ways[0].transport, "verbs");
      const std::string& reason = t.link(0, from, 1 - from)->missing_ways[0].reason;
      EXPECT_TRUE(reason.starts_with("seen from ")) << reason;
      EXPECT_TRUE(reason.ends_with("nothing comes across from rxe0")) << reason;
      EXPECT_EQ(std::ranges::count(t.link(0, from, 1 - from)->ways, "verbs",
                                   &cluster::WayDocument::transport),
                0);
    }
  }(*this));
}

TEST_F(NodeClusterTest, DevicesKnowEachOtherAndAgreeOnALeader) {
  run(3, [](NodeClusterTest& t) -> net::Task<void> {
    for (const auto& node : t.nodes_) {
      const auto devices = node->devices();
      EXPECT_EQ(devices.size(), 3u);
      EXPECT_EQ(
          std::count_if(devices.begin(), devices.end(), [](const auto& d) { return d.leader; }), 1);
      EXPECT_EQ(std::count_if(devices.begin(), devices.end(), [](const auto& d) { return d.self; }),
                1);
    }
    co_return;
  }(*this));
}

TEST_F(NodeClusterTest, AnyDeviceAnswersForAnInstanceOfAnother) {
  run(3, [](NodeClusterTest& t) -> net::Task<void> {
    for (size_t from : {0, 1, 2}) {
      const auto placed = co_await t.place(from, only("b"));
      EXPECT_TRUE(placed) << placed.error().message;
      if (!placed) co_return;
      EXPECT_EQ(placed->members.front().device_name, "b");
      const auto generation = t.nodes_[2]->generate("echo", ask("say one two three"));
      const std::string text = co_await t.collect(*generation);
      EXPECT_EQ(text, "one two three");
      const auto stopped = co_await t.nodes_[0]->stop(placed->id);
      EXPECT_TRUE(stopped) << stopped.error().message;
      EXPECT_TRUE(t.nodes_[1]->instances().empty());
    }
  }(*this));
}

TEST_F(NodeClusterTest, AModelIsSplitOverDevicesAndAnswersFromEach) {
  run(3, [](NodeClusterTest& t) -> net::Task<void> {
    const auto placed = co_await t.place(0, pipeline_of(3));
    EXPECT_TRUE(placed) << placed.error().message;
    if (!placed) co_return;
    EXPECT_EQ(placed->sharding, "pipeline");
    EXPECT_EQ(placed->members.size(), 3u);
    EXPECT_EQ(placed->members[0].last_layer, 4) << "rank 0 has the last stage";
    for (const auto& node : t.nodes_) {
      const auto generation = node->generate("echo", ask("say one two three"));
      const std::string text = co_await t.collect(*generation);
      EXPECT_EQ(text, "one two three");
    }
  }(*this));
}

TEST_F(NodeClusterTest, AStreamGoesOnWhenTheRunnerOfAnotherRankIsKilled) {
  run(2, [](NodeClusterTest& t) -> net::Task<void> {
    const auto placed = co_await t.place(0, pipeline_of(2));
    EXPECT_TRUE(placed) << placed.error().message;
    if (!placed) co_return;
    const auto generation = t.nodes_[0]->generate("echo", ask("forever"));
    const auto begun = co_await generation->next(net::Clock::now() + kLongEnough);
    EXPECT_TRUE(begun);
    const std::string member = placed->members[1].device;
    const auto pid_of_member = [&] {
      const auto device = t.nodes_[0]->cluster().devices().find(member);
      for (const auto& shard : device->second.shards) return shard.runner_pid;
      return 0;
    };
    const bool known = co_await t.eventually([&] { return pid_of_member() > 0; });
    EXPECT_TRUE(known);
    if (!known) co_return;
    const int before = pid_of_member();
    ::kill(before, SIGKILL);
    const bool healed = co_await t.eventually([&] {
      return pid_of_member() != before && pid_of_member() > 0 &&
             t.nodes_[0]->instances().front().state == "ready";
    });
    EXPECT_TRUE(healed);
    co_await t.expect_goes_on(*generation);
  }(*this));
}

TEST_F(NodeClusterTest, AStreamGoesOnAtAnotherInstanceWhenItsOwnIsStopped) {
  run(3, [](NodeClusterTest& t) -> net::Task<void> {
    const auto first = co_await t.place(0, only("b"));
    EXPECT_TRUE(first) << first.error().message;
    if (!first) co_return;
    const auto generation = t.nodes_[2]->generate("echo", ask("forever"));
    const auto begun = co_await generation->next(net::Clock::now() + kLongEnough);
    EXPECT_TRUE(begun);
    PlaceWish wish{.model = "echo", .wishes = only("a"), .another = true};
    const auto second = co_await t.nodes_[0]->place(std::move(wish), true);
    EXPECT_TRUE(second) << second.error().message;
    if (!second) co_return;
    const auto stopped = co_await t.nodes_[0]->stop(first->id);
    EXPECT_TRUE(stopped) << stopped.error().message;
    co_await t.expect_goes_on(*generation);
  }(*this));
}

TEST_F(NodeClusterTest, ADeviceThatLeavesHandsItsInstanceOverAndTheStreamGoesOn) {
  run(3, [](NodeClusterTest& t) -> net::Task<void> {
    const auto placed = co_await t.place(0, only("b"));
    EXPECT_TRUE(placed) << placed.error().message;
    if (!placed) co_return;
    const auto generation = t.nodes_[2]->generate("echo", ask("forever"));
    const auto begun = co_await generation->next(net::Clock::now() + kLongEnough);
    EXPECT_TRUE(begun);
    co_await t.nodes_[1]->drain(net::Clock::now() + kLongEnough);
    co_await t.nodes_[1]->close();
    t.nodes_[1].reset();
    co_await t.expect_goes_on(*generation);
    const bool gone =
        co_await t.eventually([&] { return t.nodes_[0]->cluster().devices().size() == 2; });
    EXPECT_TRUE(gone);
  }(*this));
}

TEST_F(NodeClusterTest, WhenTheLeaderLeavesAnotherLeadsAndInstancesStay) {
  run(3, [](NodeClusterTest& t) -> net::Task<void> {
    Node& first = t.leader();
    std::string other;
    for (const auto& node : t.nodes_) {
      if (node.get() != &first) other = node->device_id();
    }
    const auto placed = co_await t.place(0, only(other));
    EXPECT_TRUE(placed) << placed.error().message;
    if (!placed) co_return;
    for (auto& node : t.nodes_) {
      if (node.get() != &first) continue;
      co_await node->close();
      node.reset();
      break;
    }
    const bool led = co_await t.eventually([&] {
      for (const auto& node : t.nodes_) {
        if (node && node->cluster().shell().leads()) return true;
      }
      return false;
    });
    EXPECT_TRUE(led);
    const auto instances = t.leader().instances();
    EXPECT_EQ(instances.size(), 1u);
    if (instances.empty()) co_return;
    EXPECT_EQ(instances[0].id, placed->id);
    EXPECT_EQ(instances[0].heals, 0);
    EXPECT_EQ(instances[0].state, "ready");
  }(*this));
}

TEST_F(NodeClusterTest, WhatCannotBePlacedSaysWhatIsMissing) {
  run(2, [](NodeClusterTest& t) -> net::Task<void> {
    const auto generation = t.nodes_[1]->generate("huge", ask("say x"));
    const std::string text = co_await t.collect(*generation);
    EXPECT_NE(text.find("missing"), std::string::npos) << text;
  }(*this));
}

}  // namespace
}  // namespace cohort::node
