#include "cluster/plan_document.h"

#include <algorithm>
#include <set>
#include <utility>

#include <fmt/ranges.h>

#include "cluster/device_document.h"

namespace cohort::cluster {

bool InstancePlan::involves(const DeviceId& device) const {
  return std::any_of(stages.begin(), stages.end(), [&](const StagePlan& stage) {
    return std::any_of(stage.members.begin(), stage.members.end(),
                       [&](const MemberPlan& member) { return member.device == device; });
  });
}

bool PlanDocument::involves(const DeviceId& device) const {
  return std::any_of(instances.begin(), instances.end(),
                     [&](const InstancePlan& instance) { return instance.involves(device); });
}

std::vector<StagePlan> stages_of(const Placement& placement, const Topology& topology) {
  std::vector<StagePlan> stages;
  for (const Stage& stage : placement.stages) {
    StagePlan& out = stages.emplace_back(StagePlan{stage.first_layer, stage.last_layer, {}});
    for (const StageMember& member : stage.members) {
      const DeviceFacts& device = topology.devices[static_cast<size_t>(member.device)];
      out.members.push_back({device.id, member.fraction, device.name});
    }
  }
  return stages;
}

// Within a tensor group all talk to all, between stages each member to one of the next, and rank 0 to everyone.
std::vector<PairPlan> pairs_of(const Placement& placement, const Topology& topology) {
  std::set<std::pair<int, int>> talking;
  const auto talk = [&](const StageMember& a, const StageMember& b) {
    if (a.device != b.device) talking.insert(std::minmax(a.device, b.device));
  };
  const std::vector<Stage>& stages = placement.stages;
  for (size_t s = 0; s < stages.size(); ++s) {
    const std::vector<StageMember>& members = stages[s].members;
    for (size_t i = 0; i < members.size(); ++i) {
      for (const StageMember& other : members) talk(members[i], other);
      if (s > 0) talk(stages[s - 1].members[i % stages[s - 1].members.size()], members[i]);
      talk(stages.back().members.front(), members[i]);
    }
  }
  std::vector<PairPlan> pairs;
  const auto id = [&](int device) { return topology.devices[static_cast<size_t>(device)].id; };
  for (const auto& [a, b] : talking) {
    const LinkFacts& link = topology.link(a, b);
    pairs.push_back({id(a), id(b), std::string(kTransports[link.transport]), link.decided});
  }
  return pairs;
}

std::vector<RankPlan> ranks_of(const InstancePlan& instance) {
  std::vector<RankPlan> ranks;
  const auto add_stage = [&](size_t index) {
    for (const MemberPlan& member : instance.stages[index].members) {
      ranks.push_back({static_cast<int32_t>(ranks.size()), static_cast<int32_t>(index), member});
    }
  };
  if (instance.stages.empty()) return ranks;
  add_stage(instance.stages.size() - 1);
  for (size_t index = 0; index + 1 < instance.stages.size(); ++index) add_stage(index);
  return ranks;
}

const DeviceId& driver_of(const InstancePlan& instance) {
  static const DeviceId kNobody;
  return instance.stages.empty() ? kNobody : instance.stages.back().members.front().device;
}

InstancePlan* PlanDocument::find(std::string_view id) {
  const auto found = std::find_if(instances.begin(), instances.end(),
                                  [&](const InstancePlan& instance) { return instance.id == id; });
  return found == instances.end() ? nullptr : &*found;
}

const InstancePlan* PlanDocument::find(std::string_view id) const {
  return const_cast<PlanDocument*>(this)->find(id);
}

namespace {

// What is asked of the placement. A context that nobody wished holds the usual request.
Result<Load> load_of(const InstanceWishes& wishes, const ModelCost& cost) {
  constexpr int32_t kPlannedContext = 4096;  // when nobody says how much
  Load load{.concurrency = std::max(1, wishes.concurrency)};
  if (wishes.prompt > 0) load.prompt = wishes.prompt;
  if (wishes.answer > 0) load.answer = wishes.answer;
  const int64_t wanted = int64_t{wishes.prompt} + wishes.answer;
  const int32_t limit = cost.max_positions > 0 ? cost.max_positions : kPlannedContext;
  const int64_t context =
      wishes.context > 0 ? wishes.context
                         : std::min<int64_t>(limit, std::max<int64_t>(kPlannedContext, wanted));
  if (wanted > context) {
    return fail(Code::kInvalidArgument, "prompt, answer: {} tokens do not fit a context of {}; {}",
                wanted, context,
                wishes.context > 0 ? "raise the context, or ask for fewer"
                                   : "it is all the model has, so ask for fewer");
  }
  load.context = static_cast<int32_t>(context);
  load.prompt = std::min(load.prompt, load.context);
  load.wire_bytes = wishes.wire == "f32" ? 4 : wishes.wire == "bf16" ? 2 : 1;
  return load;
}

}  // namespace

Result<Wishes> to_wishes(const InstanceWishes& wishes, const ModelCost& cost) {
  Wishes out;
  if (wishes.sharding == "pipeline") {
    out.sharding = Sharding::kPipeline;
  } else if (wishes.sharding == "tensor") {
    out.sharding = Sharding::kTensor;
  } else if (wishes.sharding != "auto") {
    return fail(Code::kInvalidArgument, "sharding: '{}' is none of auto, pipeline, tensor",
                wishes.sharding);
  }
  if (wishes.wire != "f32" && wishes.wire != "bf16" && wishes.wire != "q8") {
    return fail(Code::kInvalidArgument, "wire: '{}' is none of f32, bf16, q8", wishes.wire);
  }
  out.transport = wishes.transport;
  if (out.transport != "auto" &&
      std::ranges::find(kTransports, out.transport) == kTransports.end()) {
    return fail(Code::kInvalidArgument, "transport: '{}' is none of auto, {}", out.transport,
                fmt::join(kTransports, ", "));
  }
  out.devices = wishes.devices;
  out.only = wishes.only;
  out.manual = wishes.manual;
  COHORT_TRY(out.load, load_of(wishes, cost));
  return out;
}

const ShardDocument* DeviceDocument::shard(const std::string& instance, uint64_t epoch) const {
  for (const ShardDocument& shard : shards) {
    if (shard.instance == instance && shard.epoch == epoch) return &shard;
  }
  return nullptr;
}

const LinkDocument* DeviceDocument::link(const DeviceId& peer) const {
  for (const LinkDocument& link : links) {
    if (link.peer == peer) return &link;
  }
  return nullptr;
}

}  // namespace cohort::cluster
