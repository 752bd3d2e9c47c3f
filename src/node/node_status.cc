// What this device says of itself and of the cluster.
#include "node/node.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/log.h"

namespace cohort::node {

std::vector<cluster::ShardDocument> Node::shards_here() const {
  std::vector<cluster::ShardDocument> shards;
  for (const Instance& instance : instances_) shards.push_back(instance.document());
  for (const auto& [id, error] : unresolved_) {
    const cluster::InstancePlan* plan = cluster_->plan().find(id);
    if (plan == nullptr) continue;
    shards.push_back(
        {.instance = id, .epoch = plan->epoch, .state = "failed", .reason = error.message});
  }
  if (shard_host_ == nullptr) return shards;
  for (cluster::ShardDocument& shard : shard_host_->shards()) shards.push_back(std::move(shard));
  return shards;
}

void Node::describe(cluster::DeviceDocument& self) const {
  static const DeviceHardware hardware = device_hardware();
  const DeviceMemory memory = device_memory();
  self.name = options_.name;
  self.version = COHORT_VERSION;
  self.system = hardware.system;
  self.cpu = hardware.cpu;
  self.machine = hardware.machine;
  self.cores = hardware.cores;
  self.instruction_set = speed_.instruction_set;
  self.memory_total_bytes = memory.total_bytes;
  self.memory_available_bytes = memory.available_bytes;
  self.memory_limit_bytes = options_.memory_limit_bytes;
  self.disk_available_bytes = disk_available_bytes(options_.data_dir);
  self.read_gb_per_s = speed_.read_gb_per_s;
  self.matmul_gops = speed_.matmul_gops;
  self.step = speed_.step;
  if (gauge_ != nullptr) self.memory = gauge_->speed();
  self.temperature_c = temperature_c();
  self.battery_percent = battery_percent();
  self.backends = speed_.backends.empty() ? std::vector<std::string>{"cpu"} : speed_.backends;
  self.missing_backends = speed_.missing_backends;
  self.rdma = rdma_;
  self.worker = options_.place;
  self.leaving = draining_;
  self.daemon_rss_bytes = own_rss_bytes();
  if (cluster_ != nullptr) self.shards = shards_here();
}

bool Node::computes() const {
  if (measuring_speed_ || (gauge_ != nullptr && gauge_->measuring()))
    return true;  // a path measured meanwhile would look slow
  if (cluster_ == nullptr) return false;
  for (const cluster::InstancePlan& plan : cluster_->plan().instances) {
    if (plan.involves(device_id()) && status_of(plan).shard.requests > 0) return true;
  }
  return false;
}

std::vector<MemberStatus> members_of(const cluster::InstancePlan& plan) {
  std::vector<MemberStatus> members;
  for (const cluster::RankPlan& rank : cluster::ranks_of(plan)) {
    const cluster::StagePlan& stage = plan.stages[static_cast<size_t>(rank.stage)];
    members.push_back({rank.member.device, rank.member.name, rank.rank, stage.first_layer,
                       stage.last_layer, rank.member.fraction});
  }
  return members;
}

std::vector<PairStatus> pairs_of(const cluster::InstancePlan& plan,
                                 const cluster::Devices& devices) {
  std::map<std::string, int32_t> ranks;
  for (const cluster::RankPlan& rank : cluster::ranks_of(plan))
    ranks[rank.member.device] = rank.rank;
  std::vector<PairStatus> pairs;
  for (const cluster::PairPlan& pair : plan.pairs) {
    const auto [first, second] = std::minmax(ranks[pair.first], ranks[pair.second]);
    PairStatus& status = pairs.emplace_back(PairStatus{first, second, pair.transport});
    const auto device = devices.find(first == ranks[pair.first] ? pair.first : pair.second);
    if (device == devices.end()) continue;
    const cluster::ShardDocument* shard = device->second.shard(plan.id, plan.epoch);
    const auto other = static_cast<size_t>(second);
    if (shard != nullptr && other < shard->transports.size())
      status.transport = shard->transports[other];
  }
  return pairs;
}

InstanceStatus Node::status_of(const cluster::InstancePlan& plan) const {
  InstanceStatus status{.id = plan.id,
                        .model = plan.model,
                        .sharding = plan.sharding,
                        .state = plan.epoch > 1 ? "healing" : "loading",
                        .why = plan.reason,
                        .predicted = plan.predicted,
                        .heals = plan.heals};
  status.members = members_of(plan);
  status.pairs = pairs_of(plan, cluster_->devices());
  if (plan.failed) {
    status.state = "failed";
    status.reason = plan.reason;
    return status;
  }
  const std::string& driver = cluster::driver_of(plan);
  const auto device = cluster_->devices().find(driver);
  const Instance* here = instance_here(plan);
  const cluster::ShardDocument* shard =
      device == cluster_->devices().end() ? nullptr : device->second.shard(plan.id, plan.epoch);
  if (here != nullptr) {
    status.shard = here->document();
  } else if (shard != nullptr && shard->rank == 0) {
    status.shard = *shard;
  } else {
    return status;
  }
  if (status.shard.state != "loading" || plan.epoch == 1) status.state = status.shard.state;
  status.reason = status.shard.reason;
  status.heals += status.shard.restarts;
  return status;
}

std::vector<InstanceStatus> Node::instances() const {
  std::vector<InstanceStatus> all;
  for (const cluster::InstancePlan& plan : cluster_->plan().instances)
    all.push_back(status_of(plan));
  return all;
}

std::vector<DeviceStatus> Node::devices() const {
  std::vector<DeviceStatus> all;
  const auto leader = cluster_->shell().leader();
  for (auto& [facts, state] : cluster_->shell().devices_and_states()) {
    const bool self = facts.id == device_id(), leads = leader == facts.id;
    all.push_back({std::move(facts), std::move(state), self, leads});
  }
  return all;
}

std::vector<RefusedPeer> Node::refused_peers() const {
  std::vector<RefusedPeer> all;
  const mesh::Mesh* mesh = std::as_const(*cluster_).mesh();
  if (mesh == nullptr) return all;
  for (mesh::Refusal& refusal : mesh->refusals()) {
    std::string remedy = mesh::remedy_for(refusal);
    all.push_back({std::move(refusal.address), std::move(refusal.why), std::move(remedy),
                   refusal.first_unix_ms, refusal.last_unix_ms, refusal.times});
  }
  return all;
}

net::Task<std::vector<ModelListing>> Node::models() {
  auto list = [this] { return catalog_.list(); };
  co_return co_await pool_.run(std::move(list));
}

net::Task<Result<void>> Node::prove_ready() {
  if (draining_) co_return tl::unexpected(leaving());
  std::string model;
  for (const Instance& instance : instances_) {
    if (instance.state() != InstanceState::kReady) continue;
    if (net::Clock::now() - instance.last_token_at() < kTokenProof) co_return Result<void>{};
  }
  for (const cluster::InstancePlan& plan : cluster_->plan().instances) {
    if (status_of(plan).state == "ready") model = plan.model;
  }
  if (model.empty()) co_return fail(Code::kUnavailable, "no instance is ready");
  runner::GenerateRequest request;
  request.prompt = "a";
  request.max_tokens = 1;
  request.sampling.temperature = 0;
  const auto generation = generate(model, std::move(request));
  const auto deltas = co_await generation->next(net::Clock::now() + kProofTimeout);
  if (!deltas) co_return tl::unexpected(deltas.error());
  co_return Result<void>{};
}

}  // namespace cohort::node
