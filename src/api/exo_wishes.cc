#include <algorithm>
#include <utility>

#include "api/exo.h"

namespace cohort::api {
namespace {

// What decides of a shard of whichever class.
struct Shard {
  int32_t start_layer = 0;
  int32_t end_layer = 0;  // exclusive
  template <class Visitor>
  void fields(Visitor& visit) {
    visit("start_layer", start_layer);
    visit("end_layer", end_layer);
  }
};

struct Assignments {
  std::string model_id;
  std::map<std::string, std::map<std::string, Shard>> runner_to_shard;  // runner -> class -> shard
  std::map<std::string, std::string> node_to_runner;
  template <class Visitor>
  void fields(Visitor& visit) {
    visit("model_id", model_id);
    visit("runner_to_shard", runner_to_shard);
    visit("node_to_runner", node_to_runner);
  }
};

struct InstanceBody {
  Assignments shard_assignments;
  template <class Visitor>
  void fields(Visitor& visit) {
    visit("shard_assignments", shard_assignments);
  }
};

constexpr const char* kNoRdma = "no RDMA link joins the devices; use MlxRing";

Result<void> add_shard(const std::string& node, const std::map<std::string, Shard>& tagged,
                       cluster::InstanceWishes& wishes) {
  if (tagged.size() != 1)
    return fail(Code::kUnprocessable, "runner_to_shard: expected one class of shard for {}", node);
  const auto& [name, shard] = *tagged.begin();
  wishes.only.push_back(node);
  if (name == "PipelineShardMetadata") {
    wishes.manual.push_back({node, shard.start_layer, shard.end_layer});
  } else if (name != "TensorShardMetadata") {
    return fail(Code::kUnprocessable, "runner_to_shard: no {} here, only pipeline and tensor",
                name);
  }
  return {};
}

}  // namespace

Result<cluster::InstanceWishes> exo_wishes(const ExoOrder& order) {
  if (order.model_id.empty())
    return fail(Code::kUnprocessable, "model_id: expected the id of a model");
  if (order.min_nodes < 1 || order.min_nodes > kMaxExoNodes)
    return fail(Code::kUnprocessable, "min_nodes: expected 1 to {}", kMaxExoNodes);
  if (order.instance_meta == "MlxJaccl") return fail(Code::kInvalidArgument, "{}", kNoRdma);
  if (order.instance_meta != "MlxRing")
    return fail(Code::kUnprocessable, "instance_meta: expected MlxRing or MlxJaccl");
  cluster::InstanceWishes wishes;
  if (order.sharding == "Pipeline") {
    wishes.sharding = "pipeline";
  } else if (order.sharding == "Tensor") {
    wishes.sharding = "tensor";
  } else {
    return fail(Code::kUnprocessable, "sharding: expected Pipeline or Tensor");
  }
  return wishes;
}

Result<ExoAssignment> exo_assignment(const Json& instance) {
  const Json snaked = snake_keys(instance);
  if (!snaked.is_object() || snaked.size() != 1)
    return fail(Code::kUnprocessable, "instance: expected an object with its class as only key");
  if (snaked.contains("MlxJacclInstance")) return fail(Code::kInvalidArgument, "{}", kNoRdma);
  if (!snaked.contains("MlxRingInstance"))
    return fail(Code::kUnprocessable, "instance: expected an MlxRingInstance");
  // The cards inside are not read: maps of shards take what they know of each.
  COHORT_TRY(InstanceBody body,
             from_json<InstanceBody>(snaked["MlxRingInstance"], "instance.MlxRingInstance"));
  Assignments& given = body.shard_assignments;
  ExoAssignment out{.model_id = std::move(given.model_id)};
  if (out.model_id.empty() || given.node_to_runner.empty())
    return fail(Code::kUnprocessable, "shard_assignments: expected a model and its nodes");
  for (const auto& [node, runner] : given.node_to_runner) {
    const auto shard = given.runner_to_shard.find(runner);
    if (shard == given.runner_to_shard.end())
      return fail(Code::kUnprocessable, "node_to_runner: runner {} has no shard", runner);
    COHORT_TRY_VOID(add_shard(node, shard->second, out.wishes));
  }
  auto& manual = out.wishes.manual;
  if (!manual.empty() && manual.size() != out.wishes.only.size())
    return fail(Code::kInvalidArgument, "pipeline and tensor shards do not mix here");
  std::sort(manual.begin(), manual.end(),
            [](const auto& a, const auto& b) { return a.first_layer < b.first_layer; });
  out.wishes.sharding = manual.empty() ? "tensor" : "pipeline";
  out.wishes.devices = static_cast<int32_t>(out.wishes.only.size());
  return out;
}

node::InstanceStatus exo_preview(const std::string& model, const cluster::Placement& placement,
                                 const cluster::Topology& topology) {
  const cluster::InstancePlan plan{.stages = cluster::stages_of(placement, topology)};
  node::InstanceStatus status{.model = model, .sharding = placement.sharding};
  status.members = node::members_of(plan);  // ranks as they would be
  std::string split = model;
  for (const node::MemberStatus& member : status.members) {
    split += fmt::format("/{}:{}-{}*{}", member.device, member.first_layer, member.last_layer,
                         member.fraction);
  }
  status.id = exo_id(split);
  return status;
}

}  // namespace cohort::api
