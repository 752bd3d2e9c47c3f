// What the leader has decided: the body of the plan document.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "cluster/cost.h"
#include "cluster/document.h"
#include "cluster/planner.h"

namespace cohort::cluster {

struct MemberPlan {
  DeviceId device;
  double fraction = 1;
  std::string name;  // of the device, for when it is gone

  bool operator==(const MemberPlan&) const = default;
  template <class Visitor>
  void fields(Visitor& visit) {
    visit("device", device);
    visit("fraction", fraction);
    visit("name", name);
  }
};

struct StagePlan {
  int32_t first_layer = 0;
  int32_t last_layer = 0;  // exclusive
  std::vector<MemberPlan> members;

  bool operator==(const StagePlan&) const = default;
  template <class Visitor>
  void fields(Visitor& visit) {
    visit("first_layer", first_layer);
    visit("last_layer", last_layer);
    visit("members", members);
  }
};

// A pair of devices whose ranks send each other more than a farewell.
struct PairPlan {
  DeviceId first, second;
  std::string transport;  // expected; what their runners found is in the shards' documents
  bool decided = false;   // it is the fastest of several: what the runners are to try first

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("first", first);
    visit("second", second);
    visit("transport", transport);
    visit("decided", decided);
  }
};

// What whoever asked for an instance wished; kept, so that healing honours it.
struct InstanceWishes {
  std::string sharding = "auto";  // auto | pipeline | tensor
  int32_t devices = 0;            // 0: as many as pay
  std::vector<std::string> only;  // ids or names; empty: all
  int32_t context = 0;            // 0: what memory and the model allow
  int32_t concurrency = 0;        // 0: the runner's default
  int32_t prompt = 0;             // tokens of a usual request, for what is predicted; 0: as of Load
  int32_t answer = 0;
  std::vector<ManualStage> manual;
  std::string wire = "f32";        // f32 | bf16 | q8
  std::string transport = "auto";  // or one of kTransports, for every pair

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("sharding", sharding);
    visit("devices", devices);
    visit("only", only);
    visit("context", context);
    visit("concurrency", concurrency);
    visit("prompt", prompt);
    visit("answer", answer);
    visit("manual", manual);
    visit("wire", wire);
    visit("transport", transport);
  }
};
// kInvalidArgument names what is no sharding, wire type or transport, and requests that do not fit the context.
Result<Wishes> to_wishes(const InstanceWishes& wishes, const ModelCost& cost);

struct PredictionPlan {
  double ttft_ms = 0;
  double decode_tokens_per_s = 0;
  double throughput_tokens_per_s = 0;

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("ttft_ms", ttft_ms);
    visit("decode_tokens_per_s", decode_tokens_per_s);
    visit("throughput_tokens_per_s", throughput_tokens_per_s);
  }
};

struct InstancePlan {
  std::string id;
  std::string model;
  uint64_t epoch = 1;  // raised when its shards move; runners of an older one end
  std::string sharding;
  std::vector<StagePlan> stages;  // in the order of layers; none when it failed
  std::vector<PairPlan> pairs;
  InstanceWishes wishes;
  PredictionPlan predicted;
  std::string reason;  // why this placement; of one that failed: why it cannot run
  bool failed = false;
  int32_t heals = 0;
  ModelCost cost;  // so that any leader can plan it anew

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("id", id);
    visit("model", model);
    visit("epoch", epoch);
    visit("sharding", sharding);
    visit("stages", stages);
    visit("pairs", pairs);
    visit("wishes", wishes);
    visit("predicted", predicted);
    visit("reason", reason);
    visit("failed", failed);
    visit("heals", heals);
    visit("cost", cost);
  }

  bool involves(const DeviceId& device) const;
};

std::vector<StagePlan> stages_of(const Placement& placement, const Topology& topology);
std::vector<PairPlan> pairs_of(const Placement& placement, const Topology& topology);

// A rank of an instance. Rank 0 is the first of the last stage, which drives the others and has the logits at hand; the
// rest of its stage follows, then the stages from the first one.
struct RankPlan {
  int32_t rank = 0;
  int32_t stage = 0;  // index
  MemberPlan member;
};
std::vector<RankPlan> ranks_of(const InstancePlan& instance);  // by rank
const DeviceId& driver_of(const InstancePlan& instance);       // of rank 0; empty when it failed

struct PlanDocument {
  std::vector<InstancePlan> instances;

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("instances", instances);
  }

  bool involves(const DeviceId& device) const;
  InstancePlan* find(std::string_view id);
  const InstancePlan* find(std::string_view id) const;
};

}  // namespace cohort::cluster
