// What a leader decides, as functions from values to values: where a new instance goes, what becomes of one whose devices
// died or leave, and which instances of another leader it takes over.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cluster/device_document.h"
#include "cluster/plan_document.h"
#include "cluster/planner.h"

namespace cohort::cluster {

// The live devices' documents, by id.
using Devices = std::map<DeviceId, DeviceDocument>;

// Where a pair was not measured yet, a modest home network is assumed; where a device was not, a modest computer.
inline constexpr double kAssumedRoundTripS = 300e-6;
inline constexpr double kAssumedLinkBytesPerS = 110e6;
inline constexpr double kAssumedReadBytesPerS = 10e9;
inline constexpr double kAssumedOperationsPerS = 100e9;
inline constexpr double kAssumedShmRoundTripS = 1e-6;
inline constexpr double kAssumedShmBytesPerS = 8e9;

struct TopologyWish {
  const InstancePlan* moving = nullptr;  // the memory it holds counts as free
  std::string_view transport = "auto";   // pairs that it cannot link are not linked
  const ModelCost* model = nullptr;      // its formats decide how fast weights are read
  bool without_rdma = false;             // as if no pair had it
};

// What the planner may use: live workers that stay. Memory that shards of instances in the plan will take but do not hold
// yet is left out. What may run on no device is left out altogether. A pair has the fastest link there is between them.
Topology topology_of(const Devices& devices, const PlanDocument& plan,
                     const TopologyWish& wish = {});

// All placements of a model on these devices, best first.
Result<std::vector<Placement>> placements_of(const ModelCost& cost, const InstanceWishes& wishes,
                                             const Topology& topology);

// What RDMA is worth to a model, in words; empty where no pair of devices has it. `best` is the first of placements_of() at
// the topology with it, `wish` what that topology was made for.
std::string rdma_worth(const Devices& devices, const PlanDocument& plan, const TopologyWish& wish,
                       const InstanceWishes& wishes, const Placement& best);

// The best of them as an instance. kUnavailable: none can run; says what is missing where.
Result<InstancePlan> place_instance(std::string id, std::string model, const ModelCost& cost,
                                    const InstanceWishes& wishes, const Topology& topology);

// The plan with every instance that involves a device which is not live, or leaves, placed anew or failed; nullopt when
// there is none.
std::optional<PlanDocument> heal(const PlanDocument& plan, const Devices& devices);

// The plan with the instances of `orphans` that it lacks, or has in an older epoch; nullopt when that is none.
std::optional<PlanDocument> adopt(const PlanDocument& plan, const PlanDocument& orphans);

}  // namespace cohort::cluster
