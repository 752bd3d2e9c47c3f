#include "cluster/planner.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace cohort::cluster {
namespace {

constexpr uint64_t kGiB = 1ull << 30;

// `total_bytes` in equal layers, nothing in embedding and head.
ModelCost even_model(int layers, uint64_t total_bytes) {
  ModelCost model{.name = "even", .width = 2048, .heads = 32, .kv_heads = 8, .max_positions = 8192};
  const uint64_t bytes = total_bytes / static_cast<uint64_t>(layers);
  model.layers.assign(static_cast<size_t>(layers),
                      {bytes, bytes, static_cast<double>(bytes) * 4, 2048});
  return model;
}

Topology topology_of(std::vector<DeviceFacts> devices, double round_trip_s, double bytes_per_s) {
  Topology topology{.devices = std::move(devices)};
  const size_t count = topology.devices.size();
  topology.links.assign(
      count * count, {.reachable = true, .round_trip_s = round_trip_s, .bytes_per_s = bytes_per_s});
  return topology;
}

DeviceFacts device(const std::string& name, double memory_gib, double read_gb_per_s) {
  return {.id = "id-" + name,
          .name = name,
          .memory_available_bytes = static_cast<uint64_t>(memory_gib * kGiB),
          .read_bytes_per_s = read_gb_per_s * 1e9,
          .operations_per_s = read_gb_per_s * 1e10};
}

void expect_covers(const ModelCost& model, const Placement& placement) {
  int32_t next = 0;
  std::set<int> seen;
  for (const Stage& stage : placement.stages) {
    EXPECT_EQ(stage.first_layer, next);
    next = stage.last_layer;
    double sum = 0;
    for (const StageMember& member : stage.members) {
      sum += member.fraction;
      EXPECT_TRUE(seen.insert(member.device).second) << "a device works in two stages";
    }
    EXPECT_NEAR(sum, 1, 1e-9);
  }
  EXPECT_EQ(next, static_cast<int32_t>(model.layers.size()));
}

TEST(Planner, TwoEqualDevicesOnAFastLinkShareEveryMatrix) {
  const auto model = even_model(16, kGiB);
  const auto topology = topology_of({device("a", 8, 40), device("b", 8, 40)}, 20e-6, 1e9);
  const auto placements = plan(model, topology, {}).value();
  EXPECT_EQ(placements[0].sharding, "tensor");
  EXPECT_EQ(placements[0].error, "");
  expect_covers(model, placements[0]);
}

TEST(Planner, ASlowLinkMakesOneDeviceTheAnswer) {
  const auto model = even_model(16, kGiB);
  const auto topology = topology_of({device("a", 8, 40), device("b", 8, 40)}, 5e-3, 1e7);
  const auto placements = plan(model, topology, {}).value();
  EXPECT_EQ(placements[0].sharding, "single");
  EXPECT_NE(placements[0].reason.find("fastest"), std::string::npos);
}

TEST(Planner, AModelNoSingleDeviceHoldsIsCut) {
  const auto model = even_model(32, 12 * kGiB);
  const auto topology = topology_of({device("a", 8, 40), device("b", 8, 40)}, 2e-2, 1e8);
  const auto placements = plan(model, topology, {}).value();
  EXPECT_EQ(placements[0].sharding, "pipeline");
  EXPECT_EQ(placements[0].error, "");
  expect_covers(model, placements[0]);
}

TEST(Planner, AFastAndASlowDeviceFinishTogether) {
  const auto model = even_model(16, kGiB);
  Wishes wishes{.sharding = Sharding::kTensor, .devices = 2};
  const auto topology = topology_of({device("fast", 8, 45), device("slow", 8, 15)}, 10e-6, 1e9);
  const auto placements = plan(model, topology, wishes).value();
  ASSERT_EQ(placements[0].stages.size(), 1u);
  for (const StageMember& member : placements[0].stages[0].members) {
    EXPECT_DOUBLE_EQ(member.fraction, member.device == 0 ? 0.75 : 0.25);
  }
}

TEST(Planner, OddCountsAndMoreRanksThanKvHeadsWork) {
  const auto model = even_model(16, kGiB);
  std::vector<DeviceFacts> devices;
  for (int i = 0; i < 12; ++i) devices.push_back(device("d" + std::to_string(i), 8, 40));
  for (const int ranks : {3, 5}) {
    Wishes wishes{.sharding = Sharding::kTensor, .devices = ranks};
    const auto few = topology_of({devices.begin(), devices.begin() + ranks}, 10e-6, 1e9);
    const auto placements = plan(model, few, wishes).value();
    EXPECT_EQ(placements[0].device_count(), ranks);
    expect_covers(model, placements[0]);
  }
  const std::vector<int> all = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  const auto topology = topology_of(devices, 10e-6, 1e9);
  EXPECT_EQ(plan(model, topology, {.sharding = Sharding::kTensor, .devices = 8})
                .value()[0]
                .device_count(),
            8);
}

TEST(Planner, TooLittleMemoryNamesTheBytesMissing) {
  const auto model = even_model(32, 40 * kGiB);
  const auto topology = topology_of({device("a", 8, 40), device("b", 8, 40)}, 1e-4, 1e9);
  const auto placements = plan(model, topology, {}).value();
  ASSERT_EQ(placements.size(), 1u);
  EXPECT_NE(placements[0].error.find("missing"), std::string::npos) << placements[0].error;
}

TEST(Planner, KvOfTheWantedContextCounts) {
  auto model = even_model(16, 4 * kGiB);
  for (LayerCost& layer : model.layers) layer.kv_bytes_per_token = 64 << 10;
  const auto topology = topology_of({device("a", 8, 40)}, 1e-4, 1e9);
  Wishes small{.load = {.context = 2048}};
  Wishes large{.load = {.context = 65536}};
  EXPECT_EQ(plan(model, topology, small).value()[0].error, "");
  EXPECT_NE(plan(model, topology, large).value()[0].error, "");
}

TEST(Planner, ManualLayersAreHonouredOrRefusedWithTheReason) {
  const auto model = even_model(16, kGiB);
  const auto topology = topology_of({device("a", 8, 40), device("b", 8, 40)}, 1e-4, 1e9);
  Wishes wishes{.manual = {{"b", 0, 10}, {"a", 10, 16}}};
  const auto placements = plan(model, topology, wishes).value();
  EXPECT_EQ(placements[0].stages[0].last_layer, 10);
  EXPECT_EQ(placements[0].stages[0].members[0].device, 1);
  wishes.manual[1].first_layer = 11;
  EXPECT_NE(plan(model, topology, wishes).error().message.find("next stage starts at layer 10"),
            std::string::npos);
  wishes.manual[0].device = "nobody";
  EXPECT_FALSE(plan(model, topology, wishes));
}

TEST(Planner, APromptNeedsTheLogitsOfItsLastTokenOnly) {
  auto cost = even_model(16, kGiB);
  const auto topology = topology_of({device("a", 8, 40)}, 1e-4, 1e9);
  const auto first_s = [&] {
    return plan(cost, topology, {}).value()[0].prediction.time_to_first_token_s;
  };
  const double without_s = first_s();
  cost.head_operations = 1e9;
  const Load load;
  const double chunks = std::ceil(static_cast<double>(load.prompt) / kPrefillChunk);
  EXPECT_NEAR(first_s() - without_s,
              chunks * cost.head_operations / topology.devices[0].operations_per_s, 1e-3);
}

TEST(Planner, DevicesGivenTheSameLayersByHandShareThem) {
  const auto model = even_model(16, kGiB);
  const auto topology =
      topology_of({device("a", 8, 40), device("b", 8, 40), device("c", 8, 40)}, 1e-4, 1e9);
  Wishes wishes{.manual = {{"c", 0, 4}, {"b", 4, 16, 0.75}, {"a", 4, 16, 0.25}}};
  const auto placed = plan(model, topology, wishes).value()[0];
  ASSERT_EQ(placed.stages.size(), 2u);
  EXPECT_EQ(placed.sharding, "pipeline+tensor");
  EXPECT_EQ(placed.stages[1].members[0].device, 1);
  EXPECT_DOUBLE_EQ(placed.stages[1].members[0].fraction, 0.75);
  wishes.manual[1].fraction = wishes.manual[2].fraction = 0;
  EXPECT_DOUBLE_EQ(plan(model, topology, wishes).value()[0].stages[1].members[1].fraction, 0.5);
  wishes.manual[1].fraction = 0.5;
  EXPECT_NE(plan(model, topology, wishes).error().message.find("do not add up"), std::string::npos);
}

TEST(Planner, ManyStreamsPreferWhatFillsEveryStage) {
  auto model = even_model(32, 12 * kGiB);
  const auto topology = topology_of({device("a", 16, 40), device("b", 16, 40)}, 2e-2, 1e7);
  Wishes one{};
  Wishes many{.load = {.context = 1024, .concurrency = 8}};
  EXPECT_EQ(plan(model, topology, one).value()[0].sharding, "single");
  const auto placements = plan(model, topology, many).value();
  EXPECT_EQ(placements[0].sharding, "pipeline");
  EXPECT_NEAR(placements[0].stages[0].last_layer, 16, 1);
}

TEST(Planner, UnreachableDevicesAreNeverPutTogether) {
  const auto model = even_model(16, 12 * kGiB);
  auto topology =
      topology_of({device("a", 8, 40), device("b", 8, 40), device("c", 8, 40)}, 1e-4, 1e9);
  for (const auto& [from, to] : {std::pair{0, 1}, std::pair{1, 0}}) {
    topology.links[static_cast<size_t>(from * 3 + to)].reachable = false;
  }
  const auto placements = plan(model, topology, {}).value();
  ASSERT_EQ(placements[0].error, "");
  for (const Placement& placement : placements) {
    for (const Stage& stage : placement.stages) {
      std::set<int> devices;
      for (const StageMember& member : stage.members) devices.insert(member.device);
      EXPECT_FALSE(devices.contains(0) && devices.contains(1));
    }
  }
}

TEST(Planner, AThousandDevicesGiveAPlacementThatCoversTheModel) {
  const auto model = even_model(80, 400 * kGiB);
  std::vector<DeviceFacts> devices;
  for (int i = 0; i < 1000; ++i)
    devices.push_back(device("d" + std::to_string(i), 8 + i % 24, 10 + i % 90));
  const auto topology = topology_of(devices, 1e-4, 1e9);
  const auto placements = plan(model, topology, {}).value();
  EXPECT_EQ(placements[0].error, "");
  expect_covers(model, placements[0]);
}

TEST(Cost, AnAllReduceOfFewOrLittleGoesDirectAndElseInTwoSteps) {
  const std::vector<DeviceFacts> devices{device("a", 8, 40), device("b", 8, 40), device("c", 8, 40),
                                         device("d", 8, 40)};
  constexpr double kTrip = 50e-6, kRate = 1e8, kSmall = 4096, kLarge = 1 << 20;
  const auto topology = topology_of(devices, 2 * kTrip, kRate);
  const std::vector<StageMember> two{{0, 0.5}, {1, 0.5}};
  const std::vector<StageMember> four{{0, 0.25}, {1, 0.25}, {2, 0.25}, {3, 0.25}};
  EXPECT_NEAR(all_reduce_seconds(topology, two, kLarge), kTrip + kLarge / kRate, 1e-12);
  EXPECT_NEAR(all_reduce_seconds(topology, four, kSmall), kTrip + 3 * kSmall / kRate, 1e-12);
  EXPECT_NEAR(all_reduce_seconds(topology, four, kLarge), 2 * (kTrip + 0.75 * kLarge / kRate),
              1e-12);
}

TEST(Cost, WhatAMessageCostsAtItsEndsCountsInEveryAllReduce) {
  auto devices = std::vector{device("a", 8, 40), device("b", 8, 40)};
  for (DeviceFacts& facts : devices) {
    facts.message_s = 2e-6;
    facts.message_byte_s = 1e-9;
  }
  const std::vector<StageMember> members{{0, 0.5}, {1, 0.5}};
  const double seconds = all_reduce_seconds(topology_of(devices, 20e-6, 1e9), members, 8000);
  EXPECT_NEAR(seconds, 10e-6 + 8e-6 + 2e-6 + 8e-6, 1e-12);
  Topology same_host = topology_of(devices, 20e-6, 1e9);
  for (LinkFacts& link : same_host.links) link.transport = 1;
  EXPECT_NEAR(all_reduce_seconds(same_host, members, 8000), 10e-6 + 8e-6, 1e-12);
}

TEST(Cost, RanksThatDoNotReachEachOtherNeverEnd) {
  Topology topology = topology_of({device("a", 8, 40), device("b", 8, 40)}, 20e-6, 1e9);
  for (LinkFacts& link : topology.links) link.reachable = false;
  EXPECT_TRUE(std::isinf(all_reduce_seconds(topology, {{0, 0.5}, {1, 0.5}}, 8000)));
}

TEST(Cost, AMeasuredMessagePricesWhatIsNotLonger) {
  const LinkFacts by_rate{.reachable = true, .round_trip_s = 20e-6, .bytes_per_s = 1e8};
  EXPECT_NEAR(by_rate.path_seconds(4096), 10e-6 + 4096 / 1e8, 1e-12);
  LinkFacts measured = by_rate;
  measured.message_s = 14e-6;
  EXPECT_NEAR(measured.path_seconds(0), 10e-6, 1e-12);
  EXPECT_NEAR(measured.path_seconds(4096), 12e-6, 1e-12);
  EXPECT_NEAR(measured.path_seconds(8192 + 1000), 14e-6 + 1000 / 1e8, 1e-12);
  measured.message_s = 9e-6;  // shorter than an empty one: that was no good moment
  EXPECT_NEAR(measured.path_seconds(4096), by_rate.path_seconds(4096), 1e-12);
}

TEST(Cost, APromptsSumsTravelWhileTheOtherHalfIsComputed) {
  const auto model = even_model(16, kGiB);
  std::vector<DeviceFacts> devices{device("a", 8, 40), device("b", 8, 40)};
  const std::vector<Stage> halves{{0, 16, {{0, 0.5}, {1, 0.5}}}};
  const auto first_token = [&](double bytes_per_s, int rows) {
    return predict(PricedModel(model), topology_of(devices, 0, bytes_per_s), halves,
                   {.prompt = rows})
        .time_to_first_token_s;
  };
  const double work = first_token(1e15, 256);
  const double sums = 32 * 256 * 2048 * sizeof(float) / 1e8;
  EXPECT_NEAR(first_token(1e8, 256), work + sums, 1e-3 * sums);
  for (DeviceFacts& facts : devices) facts.hides_sums = true;
  const double shorter = std::min(work, sums);
  EXPECT_NEAR(first_token(1e8, 256), work + sums - shorter * (1 - 1 / 64.0), 1e-3 * sums);
  EXPECT_NEAR(first_token(1e8, 64) / first_token(1e15, 64), (work + sums) / work, 0.01)
      << "few rows";
}

TEST(Cost, LogitsOfOtherRanksCostWhatComputingThemDoesNotHide) {
  auto model = even_model(16, kGiB);
  model.width = 1000;
  model.head_operations = 2.0 * model.width * 50'000;
  model.head_bytes = 100'000'000;
  for (LayerCost& layer : model.layers) layer.kv_bytes_per_token = 0;
  const std::vector<DeviceFacts> devices{device("a", 8, 40), device("b", 8, 40)};
  const std::vector<Stage> halves{{0, 16, {{0, 0.5}, {1, 0.5}}}};
  const auto waited = [&](double bytes_per_s) {
    return predict(PricedModel(model), topology_of(devices, 0, bytes_per_s), halves, {}).logits_s;
  };
  constexpr double kBytes = 25'000 * sizeof(float), kHeadSeconds = 50e6 / 40e9;
  EXPECT_NEAR(waited(1e7), kBytes / 1e7 - kHeadSeconds * 7 / 8, 1e-9) << "the cable is slower";
  EXPECT_NEAR(waited(1e9), kBytes / 1e9 / 8, 1e-9) << "all but the last piece is hidden";
  EXPECT_EQ(
      predict(PricedModel(model), topology_of(devices, 0, 1e7), {{0, 16, {{0, 1.0}}}}, {}).logits_s,
      0);
}

TEST(Cost, APromptsRowsAreComparedWithWhatStandsBeforeTheirChunk) {
  auto model = even_model(16, kGiB);
  const auto first_token = [&](int32_t prompt, double attention_rate,
                               const std::vector<StageMember>& members) {
    DeviceFacts facts = device("a", 8, 40);
    facts.attention_operations_per_s = attention_rate;
    return predict(PricedModel(model), topology_of({facts, facts}, 0, 1e15), {{0, 16, members}},
                   {.context = 8192, .prompt = prompt})
        .time_to_first_token_s;
  };
  const std::vector<StageMember> alone{{0, 1.0}}, both{{0, 0.5}, {1, 0.5}};
  const auto attention = [&](int32_t prompt, double rate, const std::vector<StageMember>& members) {
    for (LayerCost& layer : model.layers) layer.position_operations = 0;
    const double without = first_token(prompt, rate, members);
    for (LayerCost& layer : model.layers) layer.position_operations = 5000;
    return first_token(prompt, rate, members) - without;
  };
  // Chunks of 256 rows, behind 0, 256, ... 3840 others.
  const double operations = 16 * 5000.0 * 256 * 256 * (15 * 16 / 2);
  EXPECT_NEAR(attention(4096, 1e11, alone), operations / 1e11, 1e-9);
  EXPECT_NEAR(attention(4096, 1e11, both), operations / 1e11 / 2, 1e-9);
  EXPECT_NEAR(attention(4096, 0, alone), operations / device("a", 8, 40).operations_per_s, 1e-9);
  EXPECT_EQ(attention(kPrefillChunk, 1e11, alone), 0) << "in the rate of the matmuls";
}

TEST(Cost, LayersAndTheKvCacheCostWhatTheDeviceMeasured) {
  auto model = even_model(16, kGiB);
  for (LayerCost& layer : model.layers) layer.kv_bytes_per_token = 1000;
  DeviceFacts plain = device("a", 8, 40);
  DeviceFacts slow = plain;
  slow.layer_s = 10e-6;
  slow.step_s = 5e-6;
  slow.kv_bytes_per_s = plain.read_bytes_per_s / 2;
  const std::vector<Stage> whole{{0, 16, {{0, 1.0}}}};
  const auto weights = [&](const DeviceFacts& facts) {
    return predict(PricedModel(model), topology_of({facts}, 0, 1), whole, {}).weights_s;
  };
  const double kv_bytes = 16 * 1000 * (512 + 64);
  EXPECT_NEAR(weights(slow) - weights(plain), 165e-6 + kv_bytes / plain.read_bytes_per_s, 1e-12);
}

}  // namespace
}  // namespace cohort::cluster
