#include "node/memory_gauge.h"

#include <gtest/gtest.h>

namespace cohort::node {
namespace {

cluster::DeviceDocument device_on(const std::string& machine, const std::string& id) {
  cluster::DeviceDocument device{.id = id, .name = id};
  device.machine = machine;
  device.step.read_gb_per_s = 20;
  device.backends = {"cpu"};
  return device;
}

// "a" and "b" on one machine, "c" on another.
cluster::Devices three_devices() {
  cluster::Devices devices;
  for (const char* id : {"a", "b"}) devices[id] = device_on("one", id);
  devices["c"] = device_on("", "c");
  return devices;
}

// An instance on one device, with so many requests under way.
cluster::PlanDocument place_on(const std::string& id, const std::string& state, int32_t requests,
                               cluster::Devices& devices) {
  cluster::PlanDocument plan;
  cluster::InstancePlan instance{.id = "i"};
  instance.stages.push_back({.first_layer = 0, .last_layer = 4, .members = {{.device = id}}});
  plan.instances.push_back(instance);
  devices[id].shards.push_back(
      {.instance = "i", .epoch = instance.epoch, .state = state, .requests = requests});
  return plan;
}

const std::vector<GaugeTurn> kOfTheOtherMachine = {{"c", 0, 1}};
const std::vector<GaugeTurn> kAll = {{"c", 0, 1}, {"a", 0, 2}, {"b", 1, 2}};

TEST(MemoryGauge, DevicesOfOneMachineTakeTurns) {
  EXPECT_EQ(gauge_turns(three_devices(), {}), kAll);
}

TEST(MemoryGauge, AMachineThatGeneratesOrLoadsIsLeftAlone) {
  for (const auto& [state, requests] : {std::pair{"ready", 1}, std::pair{"loading", 0}}) {
    cluster::Devices devices = three_devices();
    const cluster::PlanDocument plan = place_on("b", state, requests, devices);
    EXPECT_EQ(gauge_turns(devices, plan), kOfTheOtherMachine) << state;
  }
  cluster::Devices devices = three_devices();
  const cluster::PlanDocument plan = place_on("b", "ready", 0, devices);
  EXPECT_EQ(gauge_turns(devices, plan), kAll) << "with nothing to do";
}

TEST(MemoryGauge, AMachineIsMeasuredByAllOfItsWorkersOrNot) {
  cluster::Devices devices = three_devices();
  devices["a"].step = {};
  EXPECT_EQ(gauge_turns(devices, {}), kOfTheOtherMachine) << "a is still being calibrated";
  devices = three_devices();
  devices["a"].backends = {"mlx", "cpu"};
  EXPECT_EQ(gauge_turns(devices, {}), kOfTheOtherMachine) << "a reads its memory otherwise";
  devices["a"].worker = false;
  const std::vector<GaugeTurn> without_a = {{"b", 0, 1}, {"c", 0, 1}};
  auto turns = gauge_turns(devices, {});
  std::sort(turns.begin(), turns.end(),
            [](const GaugeTurn& a, const GaugeTurn& b) { return a.device < b.device; });
  EXPECT_EQ(turns, without_a);
}

TEST(MemoryGauge, ACrowdOnOneMachineKeepsItsCalibration) {
  cluster::Devices devices;
  for (int32_t i = 0; i <= MemoryGauge::kMostTurns; ++i)
    devices[std::to_string(i)] = device_on("one", std::to_string(i));
  EXPECT_TRUE(gauge_turns(devices, {}).empty());
}

}  // namespace
}  // namespace cohort::node
