// From a model's name to an instance, by way of the leader; and its end.
#include "node/node.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/log.h"

namespace cohort::node {
namespace {

constexpr size_t kMaxTrueNames = 1024;

}  // namespace

Placement& Node::placement_of(const PlaceWish& wish) {
  for (Placement& placement : placements_) {
    if (placement.model() == wish.model) return placement;
  }
  const auto placement = placements_.emplace(placements_.end(), wish.model);
  tasks_.spawn(run_placement(placement, wish));
  return *placement;
}

net::Task<void> Node::run_placement(std::list<Placement>::iterator placement, PlaceWish wish) {
  const Result<std::string> placed = co_await place_named(std::move(wish), /*reuse=*/true);
  const std::vector<Generation*> waiting = placement->take_all();
  placements_.erase(placement);
  for (Generation* generation : waiting) {
    const cluster::InstancePlan* plan = placed ? cluster_->plan().find(*placed) : nullptr;
    if (plan != nullptr) {
      dispatch(*generation, *plan);
    } else if (placed) {
      park(*generation, *placed, {Code::kUnavailable, "the instance was stopped"},
           /*is_coming=*/true);
    } else {
      generation->fail(placed.error());
    }
  }
  changed_.notify_all();
}

net::Task<Result<ModelLocation>> Node::look_up(std::string name) {
  auto work = [this, name, stop = stop_resolving_.get_token()] {
    return catalog_.resolve(name, stop);
  };
  Result<ModelLocation> location = co_await pool_.run(std::move(work));
  if (location) {
    if (true_names_.size() >= kMaxTrueNames) true_names_.clear();
    true_names_[name] = location->name;
  }
  co_return location;
}

// The id of the instance. With `reuse` one that is there already will do.
net::Task<Result<std::string>> Node::place_named(PlaceWish wish, bool reuse) {
  COHORT_CO_TRY(ModelLocation location, co_await look_up(wish.model));
  if (draining_) co_return tl::unexpected(leaving());
  const cluster::InstancePlan* plan = reuse ? find(location.name) : nullptr;
  if (plan != nullptr) co_return plan->id;
  if (cluster_->devices().size() > 1) co_await measure_memory();  // else there is no choice
  co_return co_await cluster_->place(std::move(location.name), std::move(location.cost),
                                     std::move(wish.wishes), reuse);
}

net::Task<Result<InstanceStatus>> Node::place(PlaceWish wish, bool wait) {
  if (draining_) co_return tl::unexpected(leaving());
  const cluster::InstanceWishes& wishes = wish.wishes;
  const bool is_plain = !wish.another && wishes.context == 0 && wishes.concurrency == 0 &&
                        wishes.devices == 0 && wishes.sharding == "auto" && wishes.only.empty() &&
                        wishes.manual.empty() && wishes.transport == "auto";
  COHORT_CO_TRY(const std::string id, co_await place_named(std::move(wish), is_plain));
  const net::TimePoint seen_by = net::Clock::now() + Cluster::kCallTimeout;
  bool seen = false;
  for (;;) {
    const cluster::InstancePlan* plan = cluster_->plan().find(id);
    if (plan == nullptr && (seen || net::Clock::now() >= seen_by))
      co_return fail(Code::kUnavailable, "the instance was stopped");
    if (plan != nullptr) {
      seen = true;
      InstanceStatus status = status_of(*plan);
      if (status.state == "failed") co_return fail(failure_code(*plan), "{}", status.reason);
      if (!wait || status.state == "ready") co_return status;
    }
    if (co_await changed_.wait(seen ? net::kNever : seen_by) == net::Wake::kCancelled)
      co_return fail(Code::kCancelled, "cancelled");
  }
}

net::Task<Result<PlanAnswer>> Node::plan(PlaceWish wish) {
  COHORT_CO_TRY(const ModelLocation location, co_await look_up(wish.model));
  co_await measure_memory();
  PlanAnswer answer;
  COHORT_CO_TRY(answer.placements,
                cluster_->placements(location.cost, wish.wishes, answer.topology));
  answer.rdma_worth = cluster_->rdma_worth(location.cost, wish.wishes, answer.placements);
  co_return answer;
}

net::Task<Result<std::vector<std::string>>> Node::stop(std::string name) {
  const std::string model = true_name(name);
  std::vector<std::string> ids;
  std::set<std::string> members;
  for (const cluster::InstancePlan& plan : cluster_->plan().instances) {
    if (plan.id != name && plan.model != model) continue;
    ids.push_back(plan.id);
    for (const cluster::RankPlan& rank : cluster::ranks_of(plan))
      members.insert(rank.member.device);
  }
  if (ids.empty())
    co_return fail(Code::kNotFound, "there is no instance '{}' and none of such a model", name);
  COHORT_CO_TRY(const cluster::Version plan, co_await cluster_->stop(ids));
  const net::TimePoint deadline = net::Clock::now() + Cluster::kCallTimeout;
  // Who has not heard of the end may run shards that we have not heard of.
  while (!(have_heard(members, plan) && have_ended(ids)) && net::Clock::now() < deadline) {
    if (co_await changed_.wait(deadline) == net::Wake::kCancelled) break;
  }
  co_return ids;
}

// All of the live devices `members` know the plan, or a later one.
bool Node::have_heard(const std::set<std::string>& members, const cluster::Version& plan) const {
  return std::all_of(members.begin(), members.end(), [&](const std::string& id) {
    if (id == device_id()) return cluster_->shell().plan_version() >= plan;
    const auto device = cluster_->devices().find(id);
    if (device == cluster_->devices().end()) return true;
    const cluster::Version& heard = device->second.heard_plan;
    return heard.term == 0 || heard >= plan;  // versions before this one do not say it
  });
}

bool Node::have_ended(const std::vector<std::string>& ids) const {
  const auto is_one = [&](const std::string& id) {
    return std::find(ids.begin(), ids.end(), id) != ids.end();
  };
  for (const Instance& instance : instances_) {
    if (is_one(instance.options().id)) return false;
  }
  for (const auto& [id, device] : cluster_->devices()) {
    if (id == device_id()) continue;
    for (const cluster::ShardDocument& shard : device.shards) {
      if (is_one(shard.instance)) return false;
    }
  }
  return true;
}

void Node::remove_instance(const std::string& id) {
  if (!ending_.insert(id).second) return;
  background_.spawn([](Node& node, std::string instance) -> net::Task<void> {
    std::vector<std::string> ids{instance};
    const auto stopped = co_await node.cluster_->stop(std::move(ids));
    if (!stopped)
      log::warn("instance {} could not be ended: {}", instance, stopped.error().message);
    node.ending_.erase(instance);
  }(*this, id));
}

}  // namespace cohort::node
