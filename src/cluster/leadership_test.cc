#include "cluster/leadership.h"

#include <gtest/gtest.h>

#include "base/json.h"
#include "cluster/neighbours.h"

namespace cohort::cluster {
namespace {

constexpr uint64_t kGiB = 1ull << 30;

ModelCost model_of(uint64_t total_bytes) {
  ModelCost model{.name = "m", .width = 2048, .heads = 32, .kv_heads = 8, .max_positions = 8192};
  const uint64_t bytes = total_bytes / 16;
  model.layers.assign(16, {bytes, bytes, static_cast<double>(bytes) * 4, 2048});
  return model;
}

// `count` equal devices, all linked, named "a", "b"... with ids "id-a"...
Devices devices_of(int count, uint64_t memory_bytes) {
  Devices devices;
  for (int i = 0; i < count; ++i) {
    const std::string name(1, static_cast<char>('a' + i));
    DeviceDocument device{.id = fmt::format("id-{}", name), .name = name};
    device.memory_available_bytes = memory_bytes;
    device.read_gb_per_s = 20;
    device.matmul_gops = 200;
    devices[device.id] = device;
  }
  for (auto& [id, device] : devices) {
    for (const auto& [peer, other] : devices) {
      if (peer == id) continue;
      device.links.push_back({.peer = peer, .rtt_us_p50 = 20, .bandwidth_mbit_per_s = 10'000});
    }
  }
  return devices;
}

PlanDocument plan_with(const Devices& devices, const ModelCost& cost,
                       const InstanceWishes& wishes = {}) {
  PlanDocument plan;
  plan.instances.push_back(
      place_instance("i1", "m", cost, wishes, topology_of(devices, plan)).value());
  return plan;
}

TEST(Leadership, AModelTooLargeForOneDeviceIsSplitAndItsLastStageDrives) {
  const Devices devices = devices_of(3, 4 * kGiB);
  InstanceWishes wishes;
  wishes.sharding = "pipeline";
  const PlanDocument plan = plan_with(devices, model_of(8 * kGiB), wishes);
  const InstancePlan& instance = plan.instances[0];
  ASSERT_GE(instance.stages.size(), 2u);
  const auto ranks = ranks_of(instance);
  EXPECT_EQ(ranks[0].stage, static_cast<int32_t>(instance.stages.size()) - 1);
  EXPECT_EQ(ranks[1].stage, 0);
  EXPECT_EQ(driver_of(instance), instance.stages.back().members[0].device);
}

TEST(Leadership, WeightsArePricedAtTheMeasuredRatesOfTheirFormats) {
  Devices devices = devices_of(2, 4 * kGiB);
  for (auto& [id, device] : devices) device.step.formats = {{"q4", 20, 200}, {"bf16", 10, 400}};
  ModelCost model = model_of(kGiB);
  const auto facts = [&] { return topology_of(devices, {}, {.model = &model}).devices[0]; };
  model.formats = {{"q4", 1, 1}};
  EXPECT_DOUBLE_EQ(facts().read_bytes_per_s, 20e9);
  EXPECT_DOUBLE_EQ(facts().operations_per_s, 200e9);
  model.formats = {{"q4", 0.5, 0.75}, {"bf16", 0.5, 0.25}};  // times add up
  EXPECT_DOUBLE_EQ(facts().read_bytes_per_s, 1 / (0.5 / 20e9 + 0.5 / 10e9));
  EXPECT_DOUBLE_EQ(facts().operations_per_s, 1 / (0.75 / 200e9 + 0.25 / 400e9));
  model.formats = {{"mxfp4", 1, 1}};  // not measured
  EXPECT_DOUBLE_EQ(facts().read_bytes_per_s, 20e9);
}

TEST(Leadership, DevicesOfOneMachineShareItsMemory) {
  Devices devices = devices_of(3, 4 * kGiB);
  for (auto& [id, device] : devices) {
    device.step.machine_read_gb_per_s = 24;
    device.machine = id == "id-c" ? "other" : "one";
  }
  const Topology topology = topology_of(devices, {});
  const PricedModel model(model_of(kGiB));
  const auto weights_s = [&](int a, int b) {
    const std::vector<Stage> stages = {{0, 16, {{a, 0.5}, {b, 0.5}}}};
    return predict(model, topology, stages, {}).weights_s;
  };
  EXPECT_GT(weights_s(0, 1), 1.5 * weights_s(0, 2)) << "24 GB/s for both instead of 20 for each";
}

TEST(Leadership, WhatKernelsDoBesideReadingIsDoneByAllDevicesOfAMachineAtOnce) {
  Devices devices = devices_of(2, 4 * kGiB);
  for (auto& [id, device] : devices) {
    device.machine = "one";
    device.step = {.formats = {{"q4", 20, 200}}, .read_gb_per_s = 30, .machine_read_gb_per_s = 36};
  }
  ModelCost model = model_of(kGiB);
  model.formats = {{"q4", 1, 1}};
  const Topology topology = topology_of(devices, {}, {.model = &model});
  const std::vector<Stage> stages = {{0, 16, {{0, 0.5}, {1, 0.5}}}};
  double bytes = static_cast<double>(model.head_bytes);
  for (const LayerCost& layer : model.layers) bytes += static_cast<double>(layer.touched_bytes);
  const double own_s = bytes / 2 * (1 / 20e9 - 1 / 30e9);
  const Prediction prediction = predict(PricedModel(model), topology, stages, {});
  EXPECT_NEAR(prediction.weights_s, bytes / 36e9 + own_s, 0.02 * prediction.weights_s);
}

TEST(Leadership, WeightsArePricedByWhatMemoryGivesNow) {
  Devices devices = devices_of(2, 4 * kGiB);
  for (auto& [id, device] : devices) {
    device.step = {.formats = {{"q4", 20, 200}},
                   .read_gb_per_s = 24,
                   .kv_gb_per_s = 10,
                   .attention_gops = 300};
    device.memory = {.read_gb_per_s = 12, .together_gb_per_s = 12, .measured_unix_ms = 1};
  }
  ModelCost model = model_of(kGiB);
  model.formats = {{"q4", 1, 1}};
  const DeviceFacts facts = topology_of(devices, {}, {.model = &model}).devices[0];
  EXPECT_DOUBLE_EQ(facts.own_byte_s, 1 / 20e9 - 1 / 24e9);
  EXPECT_DOUBLE_EQ(facts.read_bytes_per_s, 1 / (1 / 12e9 + 1 / 20e9 - 1 / 24e9));
  EXPECT_DOUBLE_EQ(facts.kv_bytes_per_s, 5e9);
  EXPECT_DOUBLE_EQ(facts.attention_operations_per_s, 300e9);
  EXPECT_DOUBLE_EQ(facts.operations_per_s, 200e9);
}

TEST(Leadership, WhatDevicesOfOneMachineReadAtOnceReplacesWhatWasCalibrated) {
  Devices devices = devices_of(2, 4 * kGiB);
  int64_t now_ms = 1'000'000;
  for (auto& [id, device] : devices) {
    device.machine = "one";
    device.step.machine_read_gb_per_s = 40;
    device.memory = {.together_gb_per_s = 12, .measured_unix_ms = now_ms++};
  }
  const auto shared = [&] { return topology_of(devices, {}).devices[0].machine_bytes_per_s; };
  EXPECT_DOUBLE_EQ(shared(), 24e9);
  devices.begin()->second.memory.measured_unix_ms += 60'000;
  EXPECT_DOUBLE_EQ(shared(), 40e9) << "not measured at once";
  devices.begin()->second.memory = {};
  EXPECT_DOUBLE_EQ(shared(), 40e9) << "not measured by all";
}

TEST(Leadership, AmongManyDevicesAMissingLinkBreaksNoInstance) {
  Devices devices = devices_of(static_cast<int>(kFullMeshUpTo) + 2, 4 * kGiB);
  for (auto& [id, device] : devices) device.links.clear();  // none happens to be open just now
  InstanceWishes wishes;
  wishes.devices = 3;
  const PlanDocument plan = plan_with(devices, model_of(8 * kGiB), wishes);
  EXPECT_EQ(ranks_of(plan.instances[0]).size(), 3u);
  EXPECT_FALSE(heal(plan, devices));
  devices.erase(ranks_of(plan.instances[0])[1].member.device);
  EXPECT_TRUE(heal(plan, devices));
}

TEST(Leadership, ThePlanSurvivesTheWayThroughJson) {
  const PlanDocument plan = plan_with(devices_of(3, 4 * kGiB), model_of(8 * kGiB));
  const auto back = from_json<PlanDocument>(to_json(plan)).value();
  EXPECT_EQ(back.instances[0].stages, plan.instances[0].stages);
  EXPECT_EQ(to_json(back), to_json(plan));
}

TEST(Leadership, NothingIsHealedWhileAllMembersLive) {
  const Devices devices = devices_of(3, 4 * kGiB);
  EXPECT_FALSE(heal(plan_with(devices, model_of(8 * kGiB)), devices));
}

TEST(Leadership, AnInstanceWhoseDeviceDiedIsPlacedOnTheOthers) {
  Devices devices = devices_of(4, 4 * kGiB);
  const PlanDocument plan = plan_with(devices, model_of(8 * kGiB));
  const DeviceId dead = driver_of(plan.instances[0]);
  devices.erase(dead);
  const auto healed = heal(plan, devices);
  ASSERT_TRUE(healed);
  const InstancePlan& instance = healed->instances[0];
  EXPECT_FALSE(instance.failed) << instance.reason;
  EXPECT_FALSE(instance.involves(dead));
  EXPECT_EQ(instance.epoch, plan.instances[0].epoch + 1);
  EXPECT_EQ(instance.heals, 1);
}

TEST(Leadership, AnInstanceMovesAwayFromADeviceThatLeaves) {
  Devices devices = devices_of(3, 4 * kGiB);
  const PlanDocument plan = plan_with(devices, model_of(kGiB));
  const DeviceId leaving = driver_of(plan.instances[0]);
  devices.at(leaving).leaving = true;
  const auto healed = heal(plan, devices);
  ASSERT_TRUE(healed);
  EXPECT_FALSE(healed->instances[0].involves(leaving));
}

TEST(Leadership, AnInstanceMovesWhenItsDriverLosesTheLinkToAMemberThoughBothLive) {
  Devices devices = devices_of(3, 4 * kGiB);
  InstanceWishes wishes;
  wishes.sharding = "pipeline";
  wishes.devices = 2;
  const PlanDocument plan = plan_with(devices, model_of(6 * kGiB), wishes);
  const auto ranks = ranks_of(plan.instances[0]);
  const DeviceId& driver = ranks[0].member.device;
  const DeviceId& member = ranks[1].member.device;
  const auto unlink = [&](const DeviceId& from, const DeviceId& to) {
    std::erase_if(devices.at(from).links,
                  [&](const LinkDocument& link) { return link.peer == to; });
  };
  unlink(driver, member);
  EXPECT_FALSE(heal(plan, devices)) << "one end still has it";
  unlink(member, driver);
  const auto healed = heal(plan, devices);
  ASSERT_TRUE(healed);
  const InstancePlan& instance = healed->instances[0];
  EXPECT_FALSE(instance.failed) << instance.reason;
  EXPECT_FALSE(instance.involves(driver) && instance.involves(member));
}

TEST(Leadership, WishesThatTheLivingCannotHonourAreLetGo) {
  Devices devices = devices_of(4, 4 * kGiB);
  InstanceWishes wishes;
  wishes.sharding = "pipeline";
  wishes.devices = 3;
  wishes.only = {"a", "b", "c"};
  const PlanDocument plan = plan_with(devices, model_of(kGiB), wishes);
  devices.erase("id-b");
  const auto healed = heal(plan, devices);
  ASSERT_TRUE(healed);
  const InstancePlan& instance = healed->instances[0];
  EXPECT_FALSE(instance.failed) << instance.reason;
  EXPECT_FALSE(instance.involves("id-d")) << "of the wishes those that can be kept are";
  EXPECT_EQ(instance.wishes.devices, 3) << "for the next healing the wishes stand";
}

TEST(Leadership, TheMemoryAnInstanceHoldsServesItsOwnHealing) {
  Devices devices = devices_of(3, 4 * kGiB);
  InstanceWishes wishes;
  wishes.sharding = "pipeline";
  const PlanDocument plan = plan_with(devices, model_of(6 * kGiB), wishes);
  for (auto& [id, device] : devices) {
    if (!plan.instances[0].involves(id)) continue;
    device.memory_available_bytes = kGiB / 2;
    device.shards.push_back(
        {.instance = "i1", .epoch = 1, .state = "ready", .weight_bytes = 3 * kGiB + kGiB / 2});
  }
  devices.erase(driver_of(plan.instances[0]));
  const auto healed = heal(plan, devices);
  ASSERT_TRUE(healed);
  EXPECT_FALSE(healed->instances[0].failed) << healed->instances[0].reason;
}

TEST(Leadership, WithTooLittleMemoryLeftTheInstanceFailsAndSaysWhoLeftAndWhatIsMissing) {
  Devices devices = devices_of(2, 4 * kGiB);
  const PlanDocument plan = plan_with(devices, model_of(6 * kGiB));
  const DeviceId dead = driver_of(plan.instances[0]);
  devices.at(dead).leaving = true;
  EXPECT_FALSE(heal(plan, devices)) << "a device that leaves serves on while nobody else can";
  devices.erase(dead);
  const auto healed = heal(plan, devices);
  ASSERT_TRUE(healed);
  const InstancePlan& instance = healed->instances[0];
  EXPECT_TRUE(instance.failed);
  EXPECT_TRUE(instance.stages.empty());
  EXPECT_NE(instance.reason.find("left"), std::string::npos) << instance.reason;
  EXPECT_NE(instance.reason.find("missing"), std::string::npos) << instance.reason;
  EXPECT_FALSE(heal(*healed, devices)) << "a failed instance is not healed again and again";
}

TEST(Leadership, WhatIsPromisedToOneInstanceIsNotGivenToAnother) {
  const Devices devices = devices_of(1, 4 * kGiB);
  const PlanDocument plan = plan_with(devices, model_of(3 * kGiB));
  const auto second = place_instance("i2", "m", model_of(3 * kGiB), {}, topology_of(devices, plan));
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::kUnavailable);
}

TEST(Leadership, AMemoryLimitBoundsAllInstancesOfADevice) {
  Devices devices = devices_of(1, 16 * kGiB);
  devices.begin()->second.memory_limit_bytes = 2 * kGiB;
  EXPECT_FALSE(place_instance("i1", "m", model_of(3 * kGiB), {}, topology_of(devices, {})));
  EXPECT_TRUE(place_instance("i1", "m", model_of(kGiB), {}, topology_of(devices, {})));
}

TEST(Leadership, OrphansAreAdoptedUnlessTheyAreKnownAsNew) {
  const Devices devices = devices_of(2, 8 * kGiB);
  const PlanDocument plan = plan_with(devices, model_of(kGiB));
  PlanDocument orphans = plan;
  EXPECT_FALSE(adopt(plan, orphans));
  orphans.instances[0].id = "i2";
  const auto adopted = adopt(plan, orphans);
  ASSERT_TRUE(adopted);
  EXPECT_EQ(adopted->instances.size(), 2u);
  orphans.instances[0].id = "i1";
  orphans.instances[0].epoch = 5;
  EXPECT_EQ(adopt(plan, orphans)->instances[0].epoch, 5u);
}

// As when the first two are containers of one host.
Devices first_two_share_a_host(Devices devices) {
  const WayDocument shm{.transport = "shm", .rtt_us_p50 = 1, .bandwidth_mbit_per_s = 80'000};
  for (LinkDocument& link : devices.at("id-a").links) {
    if (link.peer == "id-b") link.ways.push_back(shm);
  }
  return devices;
}

TEST(Leadership, APairTakesTheFastestWayThatItsWishAllows) {
  const Devices devices = first_two_share_a_host(devices_of(3, 4 * kGiB));
  const auto facts = [&](std::string_view wish, int from, int to) {
    return topology_of(devices, {}, {.transport = wish}).link(from, to);
  };
  for (const char* wish : {"auto", "shm"}) {
    EXPECT_EQ(kTransports[facts(wish, 0, 1).transport], "shm");
    EXPECT_EQ(kTransports[facts(wish, 1, 0).transport], "shm") << "one side's word is enough";
    EXPECT_NEAR(facts(wish, 0, 1).round_trip_s, 1e-6, 1e-9);
  }
  EXPECT_EQ(kTransports[facts("auto", 0, 2).transport], "tcp");
  EXPECT_FALSE(facts("shm", 0, 2).reachable);
  EXPECT_EQ(kTransports[facts("tcp", 0, 1).transport], "tcp");
  EXPECT_NEAR(facts("tcp", 0, 1).round_trip_s, 20e-6, 1e-9);
}

InstanceWishes tensor_of(int32_t devices, std::string transport) {
  InstanceWishes wishes;
  wishes.sharding = "tensor";
  wishes.devices = devices;
  wishes.transport = std::move(transport);
  return wishes;
}

TEST(Leadership, AnInstanceSaysWhatEachPairIsExpectedToBeLinkedBy) {
  const Devices devices = first_two_share_a_host(devices_of(3, 4 * kGiB));
  const ModelCost cost = model_of(kGiB);
  const auto three = place_instance("i", "m", cost, tensor_of(3, "auto"), topology_of(devices, {}));
  ASSERT_TRUE(three) << three.error().message;
  EXPECT_EQ(three->pairs.size(), 3u);
  for (const PairPlan& pair : three->pairs) {
    const bool with_c = pair.first == "id-c" || pair.second == "id-c";
    EXPECT_EQ(pair.transport, with_c ? "tcp" : "shm") << pair.first << pair.second;
  }
  const auto two = place_instance("i", "m", cost, tensor_of(2, "shm"),
                                  topology_of(devices, {}, {.transport = "shm"}));
  ASSERT_TRUE(two) << two.error().message;
  EXPECT_TRUE(two->involves("id-a") && two->involves("id-b"));
}

TEST(Leadership, SharedMemoryBetweenHostsIsRefusedAndSaysBetweenWhich) {
  const Devices devices = first_two_share_a_host(devices_of(3, 4 * kGiB));
  const Topology topology = topology_of(devices, {}, {.transport = "shm"});
  InstanceWishes apart = tensor_of(2, "shm");
  apart.only = {"b", "c"};
  for (const InstanceWishes& wishes : {tensor_of(3, "shm"), apart}) {
    const auto refused = place_instance("i", "m", model_of(kGiB), wishes, topology);
    ASSERT_FALSE(refused);
    EXPECT_NE(
        refused.error().message.find("c cannot be linked by it: they are not on the same host"),
        std::string::npos)
        << refused.error().message;
  }
  EXPECT_TRUE(place_instance("i", "m", model_of(kGiB), tensor_of(1, "shm"), topology))
      << "one device alone has nobody to be linked with";
}

// As measured; the third has no RDMA.
Devices first_two_have_rdma(Devices devices) {
  const WayDocument verbs{.transport = "verbs", .rtt_us_p50 = 6, .bandwidth_mbit_per_s = 40'000};
  for (const char* id : {"id-a", "id-b"}) {
    devices.at(id).rdma.ports.push_back(
        {.device = "mlx5_0", .state = "active", .address = "10.0.0.1"});
  }
  for (LinkDocument& link : devices.at("id-b").links) {
    link.rtt_us_p50 = 300;  // of TCP
    if (link.peer == "id-a") link.ways.push_back(verbs);
  }
  for (LinkDocument& link : devices.at("id-a").links) link.rtt_us_p50 = 300;
  return devices;
}

TEST(Leadership, RdmaIsPricedAsMeasuredAndLeftOutOnRequest) {
  const Devices devices = first_two_have_rdma(devices_of(3, 4 * kGiB));
  const auto facts = [&](const TopologyWish& wish) { return topology_of(devices, {}, wish); };
  EXPECT_EQ(kTransports[facts({}).link(0, 1).transport], "verbs");
  EXPECT_NEAR(facts({}).link(0, 1).round_trip_s, 6e-6, 1e-9);
  EXPECT_NEAR(facts({}).link(0, 1).bytes_per_s, 5e9, 1);
  EXPECT_EQ(kTransports[facts({.without_rdma = true}).link(0, 1).transport], "tcp");
  EXPECT_TRUE(facts({.transport = "verbs"}).link(0, 1).reachable);
  EXPECT_FALSE(facts({.transport = "verbs"}).link(0, 2).reachable);
  EXPECT_FALSE(facts({.transport = "ucx"}).link(0, 1).reachable);
}

TEST(Leadership, RunnersAreToldOfPairsThatHaveAChoiceWhatWasMeasuredToBeFastest) {
  Devices devices = first_two_have_rdma(devices_of(3, 4 * kGiB));
  const auto pairs = [&] {
    return place_instance("i", "m", model_of(kGiB), tensor_of(3, "auto"), topology_of(devices, {}))
        ->pairs;
  };
  for (const PairPlan& pair : pairs())
    EXPECT_EQ(pair.decided, pair.second != "id-c") << pair.first << pair.second;
  EXPECT_EQ(pairs()[0].transport, "verbs");
  for (LinkDocument& link : devices.at("id-b").links) {
    for (WayDocument& way : link.ways) way.rtt_us_p50 = 900;
  }
  EXPECT_EQ(pairs()[0].transport, "tcp");
  EXPECT_TRUE(pairs()[0].decided) << "or the runners would change over all the same";
}

TEST(Leadership, SharedMemoryIsTakenAlthoughABusyMachineMeasuredItSlow) {
  Devices devices = devices_of(2, 4 * kGiB);
  for (const char* id : {"id-a", "id-b"}) {
    for (LinkDocument& link : devices.at(id).links) {
      link.rtt_us_p50 = 40;
      link.bandwidth_mbit_per_s = 20'000;
      link.ways.push_back({.transport = "shm", .rtt_us_p50 = 4'000, .bandwidth_mbit_per_s = 400});
    }
  }
  for (const char* wish : {"auto", "shm"}) {
    const LinkFacts facts = topology_of(devices, {}, {.transport = wish}).link(0, 1);
    EXPECT_EQ(kTransports[facts.transport], "shm");
    EXPECT_NEAR(facts.round_trip_s, 40e-6, 1e-9) << "as TCP between the same cores";
    EXPECT_NEAR(facts.bytes_per_s, 2.5e9, 1);
  }
}

TEST(Leadership, AWayThatWasNotMeasuredIsNone) {
  Devices devices = devices_of(2, 4 * kGiB);
  for (LinkDocument& link : devices.at("id-a").links) link.ways.push_back({.transport = "verbs"});
  EXPECT_EQ(kTransports[topology_of(devices, {}).link(0, 1).transport], "tcp");
}

std::string refusal_over(std::string_view transport, const Devices& devices) {
  const auto refused =
      place_instance("i", "m", model_of(kGiB), tensor_of(2, std::string(transport)),
                     topology_of(devices, {}, {.transport = transport}));
  return refused ? "placed" : refused.error().message;
}

TEST(Leadership, RdmaThatIsMissingIsRefusedWithThePairAndTheReason) {
  Devices devices = devices_of(2, 4 * kGiB);
  EXPECT_NE(
      refusal_over("verbs", devices).find("a and b cannot be linked by it: a has no RDMA port"),
      std::string::npos)
      << refusal_over("verbs", devices);
  for (auto& [id, device] : devices)
    device.rdma.ports.push_back({.device = "mlx5_0", .state = "down"});
  EXPECT_NE(refusal_over("verbs", devices).find("no RDMA port of a is active"), std::string::npos);
  for (auto& [id, device] : devices)
    device.rdma.ports[0] = {.device = "mlx5_0", .state = "active", .address = "10.0.0.1"};
  EXPECT_NE(refusal_over("verbs", devices).find("have not been measured yet"), std::string::npos);
  devices.at("id-b").links[0].missing_ways = {{"verbs", "nothing comes across from mlx5_0"}};
  EXPECT_NE(refusal_over("verbs", devices).find("nothing comes across from mlx5_0"),
            std::string::npos);
  EXPECT_EQ(refusal_over("verbs", first_two_have_rdma(devices_of(2, 4 * kGiB))), "placed");
}

TEST(Leadership, APlanSaysWhatRdmaIsWorth) {
  const ModelCost cost = model_of(kGiB);
  const auto words = [&](const Devices& devices, const std::string& transport) {
    const InstanceWishes wishes = tensor_of(2, transport);
    const TopologyWish wish{.transport = transport, .model = &cost};
    const auto placements = placements_of(cost, wishes, topology_of(devices, {}, wish));
    return rdma_worth(devices, {}, wish, wishes, placements->front());
  };
  EXPECT_EQ(words(devices_of(2, 4 * kGiB), "auto"), "");
  const Devices devices = first_two_have_rdma(devices_of(2, 4 * kGiB));
  for (const char* transport : {"auto", "verbs"}) {
    const std::string worth = words(devices, transport);
    EXPECT_TRUE(worth.starts_with("RDMA: ")) << worth;
    EXPECT_NE(worth.find("without (tensor on 2 devices): it is worth "), std::string::npos)
        << worth;
  }
  EXPECT_EQ(words(devices, "tcp"), "") << "whoever forbids it knows";
  Devices slow = devices;
  for (LinkDocument& link : slow.at("id-b").links) {
    for (WayDocument& way : link.ways) way.rtt_us_p50 = 900;
  }
  EXPECT_EQ(words(slow, "auto"),
            "RDMA: no pair of devices is faster by it than by what it has besides");
}

TEST(Leadership, WishesThatMakeNoSenseAreRefused) {
  InstanceWishes wishes;
  wishes.sharding = "diagonal";
  const auto refused = to_wishes(wishes, model_of(kGiB));
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("diagonal"), std::string::npos);
  wishes = {};
  wishes.transport = "pigeon";
  EXPECT_EQ(to_wishes(wishes, model_of(kGiB)).error().message,
            "transport: 'pigeon' is none of auto, tcp, shm, verbs, ucx");
}

TEST(Leadership, AUsualRequestIsPredictedAndHasItsContext) {
  ModelCost model = model_of(kGiB);
  model.max_positions = 40'960;
  EXPECT_EQ(to_wishes({}, model).value().load.prompt, 512);
  EXPECT_EQ(to_wishes({}, model).value().load.context, 4096);
  const Load load = to_wishes({.prompt = 20'000, .answer = 1000}, model).value().load;
  EXPECT_EQ(load.prompt, 20'000);
  EXPECT_EQ(load.answer, 1000);
  EXPECT_EQ(load.context, 21'000);
  const auto too_long = to_wishes({.prompt = 50'000}, model);
  ASSERT_FALSE(too_long);
  EXPECT_NE(too_long.error().message.find("all the model has"), std::string::npos);
  const auto no_room = to_wishes({.context = 2048, .prompt = 2000, .answer = 100}, model);
  ASSERT_FALSE(no_room);
  EXPECT_NE(no_room.error().message.find("raise the context"), std::string::npos);
}

}  // namespace
}  // namespace cohort::cluster
