// EXO's API (June 2026): what a node knows in EXO's shapes, and EXO's wishes as ours. For the files exo_*.cc only. Pure.
//
// Cluster objects are camelCase; snake_keys() makes them what EXO sends by hand. A union is an object with one key, its
// class. What we have no fact for is an empty map, or a zero where EXO's clients need a number.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "cluster/plan_document.h"
#include "node/node.h"

namespace cohort::api {

struct ExoFacts {
  std::vector<node::DeviceStatus> devices;
  std::vector<node::InstanceStatus> instances;
  std::vector<node::ClusterEvent> events;
  cluster::PlanDocument plan;
  int64_t now_unix_ms = 0;
};

// UUIDs that are the same whenever they are asked for.
std::string exo_id(std::string_view what);
std::string exo_runner_id(const std::string& instance, int32_t rank);

Json exo_card(const std::string& model, const cluster::ModelCost& cost);
Json exo_instance(const node::InstanceStatus& instance, const cluster::ModelCost& cost,
                  const std::vector<node::DeviceStatus>& devices);
Json exo_instance(const ExoFacts& facts, const node::InstanceStatus& instance);
Json exo_state(const ExoFacts& facts);
Json exo_events(const ExoFacts& facts);  // snake_case, as EXO's

// Keys in snake_case all the way down, but for names of classes, which begin with a capital.
Json snake_keys(const Json& value);

// The part of `value` at "nodeMemory/<id>/ramTotal", "topology/nodes/0"; null when there is none.
const Json* find_path(const Json& value, std::string_view path);

// --- wishes

struct ExoOrder {
  std::string model_id;
  std::string sharding = "Pipeline";
  std::string instance_meta = "MlxRing";
  int32_t min_nodes = 1;

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("model_id", model_id);
    visit("sharding", sharding);
    visit("instance_meta", instance_meta);
    visit("min_nodes", min_nodes);
  }
};
inline constexpr int32_t kMaxExoNodes = 4096;

// kUnprocessable names the field; kInvalidArgument: of a kind we cannot have.
Result<cluster::InstanceWishes> exo_wishes(const ExoOrder& order);

// An instance object a client made, in either casing: its shards become layers by hand, or a tensor group of its nodes.
struct ExoAssignment {
  std::string model_id;
  cluster::InstanceWishes wishes;
};
Result<ExoAssignment> exo_assignment(const Json& instance);

// Placed by nobody yet: for a preview.
node::InstanceStatus exo_preview(const std::string& model, const cluster::Placement& placement,
                                 const cluster::Topology& topology);

}  // namespace cohort::api
