#include "cluster/neighbours.h"

#include <gtest/gtest.h>

#include <fmt/format.h>

#include <map>

namespace cohort::cluster {
namespace {

std::set<DeviceId> devices(size_t count) {
  std::set<DeviceId> ids;
  for (size_t i = 0; i < count; ++i) ids.insert(fmt::format("{:032x}", i * 0x9e3779b9u));
  return ids;
}

// Links from `from` to the farthest of all; -1: some cannot be reached.
int eccentricity(const DeviceId& from, const std::map<DeviceId, std::set<DeviceId>>& graph) {
  std::set<DeviceId> seen = {from}, edge = {from};
  int steps = -1;
  for (; !edge.empty(); ++steps) {
    std::set<DeviceId> next;
    for (const DeviceId& id : edge) {
      for (const DeviceId& other : graph.at(id)) {
        if (seen.insert(other).second) next.insert(other);
      }
    }
    edge = std::move(next);
  }
  return seen.size() == graph.size() ? steps : -1;
}

TEST(Neighbours, AreAllOthersUpToTheBound) {
  const std::set<DeviceId> few = devices(kFullMeshUpTo);
  std::set<DeviceId> others = few;
  others.erase(others.begin());
  EXPECT_EQ(neighbours(*few.begin(), few), others);
  EXPECT_EQ(neighbours(*few.begin(), others), others) << "self need not be among them";
}

TEST(Neighbours, AreFewAmongManyAndChooseEachOther) {
  for (const size_t count : {kFullMeshUpTo + 1, size_t{100}, size_t{1000}}) {
    const std::set<DeviceId> all = devices(count);
    std::map<DeviceId, std::set<DeviceId>> graph;
    for (const DeviceId& id : all) graph[id] = neighbours(id, all);
    for (const auto& [id, chosen] : graph) {
      EXPECT_LE(chosen.size(), 2 * kRings);
      EXPECT_FALSE(chosen.contains(id));
      for (const DeviceId& other : chosen) EXPECT_TRUE(graph.at(other).contains(id));
    }
    const int far = eccentricity(*all.begin(), graph);
    EXPECT_GE(far, 1) << count << " devices hang together";
    EXPECT_LE(far, 6);
  }
}

TEST(Neighbours, AreMostlyTheSameWhenOneDeviceGoes) {
  std::set<DeviceId> all = devices(200);
  const DeviceId gone = *all.begin();
  std::map<DeviceId, std::set<DeviceId>> before;
  for (const DeviceId& id : all) before[id] = neighbours(id, all);
  all.erase(gone);
  size_t changed = 0;
  for (const DeviceId& id : all) changed += neighbours(id, all) == before[id] ? 0 : 1;
  EXPECT_LE(changed, 2 * kRings) << "its neighbours close the gaps, nobody else moves";
}

}  // namespace
}  // namespace cohort::cluster
