// What the plan gives this device to run.
#include "node/node.h"

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace cohort::node {

void Node::on_cluster_changed() {
  if (cluster_ != nullptr) reconcile();
  changed_.notify_all();
}

void Node::reconcile() {
  if (closing_) return;
  for (Instance& instance : instances_) {
    if (instance.stopping()) continue;
    const cluster::InstancePlan* plan = cluster_->plan().find(instance.options().id);
    if (plan == nullptr) {
      instance.stop("the instance was stopped");
    } else if (plan->epoch != instance.options().epoch ||
               cluster::driver_of(*plan) != device_id()) {
      for (Generation* generation : instance.give_up_requests()) {
        const Error why{Code::kUnavailable, "the instance moves"};
        if (generation->for_peer) {
          generation->fail(why);
        } else {
          park(*generation, plan->id, why);
        }
      }
      instance.stop("the instance moved");
    }
  }
  const auto is_known = [&](const std::string& id) { return cluster_->plan().find(id) != nullptr; };
  std::erase_if(unresolved_, [&](const auto& entry) { return !is_known(entry.first); });
  std::erase_if(failed_since_, [&](const auto& entry) { return !is_known(entry.first); });
  for (const cluster::InstancePlan& plan : cluster_->plan().instances) {
    if (cluster::driver_of(plan) == device_id()) start_instance(plan);
  }
}

// Unless it is there already, or its predecessor still is.
void Node::start_instance(const cluster::InstancePlan& plan) {
  const auto same = [&](const Instance& instance) { return instance.options().id == plan.id; };
  if (std::any_of(instances_.begin(), instances_.end(), same) || unresolved_.count(plan.id) > 0)
    return;
  if (!starting_.insert(plan.id).second) return;
  tasks_.spawn(bring_up(plan.id, plan.model));
}

net::Task<void> Node::bring_up(std::string id, std::string model) {
  Result<ModelLocation> location = co_await look_up(std::move(model));
  starting_.erase(id);
  const cluster::InstancePlan* plan = cluster_->plan().find(id);
  if (closing_ || plan == nullptr || cluster::driver_of(*plan) != device_id()) co_return;
  if (!location) {
    log::error("instance {} ({}): {}", id, plan->model, location.error().message);
    unresolved_.insert_or_assign(id, location.error());
    cluster_->publish();
  } else {
    const auto instance = instances_.emplace(instances_.end(), executor_,
                                             instance_options(*plan, std::move(*location)));
    tasks_.spawn(run_instance(instance));
    cluster_->publish();
  }
  changed_.notify_all();
}

InstanceOptions Node::instance_options(const cluster::InstancePlan& plan, ModelLocation location) {
  InstanceOptions options{.id = plan.id, .model = std::move(location)};
  options.load = localize(options_.load);
  options.load.model = options.model.source;
  options.load.model_name = options.model.name;
  if (plan.wishes.context > 0) options.load.context_length = plan.wishes.context;
  if (plan.wishes.concurrency > 0) options.load.max_sequences = plan.wishes.concurrency;
  options.epoch = plan.epoch;
  if (const std::vector<cluster::RankPlan> ranks = cluster::ranks_of(plan); ranks.size() > 1) {
    options.load.group = layout_of(plan);
    options.mesh = cluster_->mesh();
    options.is_reachable = [this](const std::string& device) { return cluster_->reaches(device); };
    for (const cluster::RankPlan& rank : ranks) {
      options.ranks.push_back({rank.rank, rank.member.device, rank.member.name});
    }
  }
  options.runner_command = options_.runner_command;
  options.idle_unload = options_.idle_unload;
  options.restart = options_.restart;
  options.on_change = [this] {
    cluster_->publish();
    changed_.notify_all();
  };
  options.on_stats = [this] { cluster_->mark_dirty(); };
  options.on_idle = [this, id = plan.id] { remove_instance(id); };
  return options;
}

net::Task<void> Node::run_instance(std::list<Instance>::iterator instance) {
  co_await instance->run();
  instances_.erase(instance);
  if (!closing_) cluster_->publish();
  on_cluster_changed();  // its successor may start
}

runner::GroupLayout layout_of(const cluster::InstancePlan& plan) {
  runner::GroupLayout layout{.wire = plan.wishes.wire, .transport = plan.wishes.transport};
  for (const cluster::StagePlan& stage : plan.stages) {
    layout.stages.push_back({stage.first_layer, stage.last_layer, {}, {}});
  }
  std::map<cluster::DeviceId, int32_t> ranks;
  for (const cluster::RankPlan& rank : cluster::ranks_of(plan)) {
    runner::StageLayout& stage = layout.stages[static_cast<size_t>(rank.stage)];
    stage.ranks.push_back(rank.rank);
    stage.fractions.push_back(rank.member.fraction);
    ranks[rank.member.device] = rank.rank;
  }
  for (const cluster::PairPlan& pair : plan.pairs) {
    if (pair.decided)
      layout.pairs.push_back({ranks[pair.first], ranks[pair.second], pair.transport});
  }
  return layout;
}

// With this device's backend, threads and memory.
runner::LoadCommand Node::localize(runner::LoadCommand load) const {
  load.threads = options_.load.threads;
  load.backend = options_.load.backend;
  load.memory_limit_bytes = 0;
  if (options_.memory_limit_bytes > 0) {
    const uint64_t held = std::min(held_bytes(), options_.memory_limit_bytes - 1);
    load.memory_limit_bytes = options_.memory_limit_bytes - held;
  }
  return load;
}

uint64_t Node::held_bytes() const {
  uint64_t total = 0;
  for (const cluster::ShardDocument& shard : shards_here())
    total += shard.weight_bytes + shard.kv_bytes;
  return total;
}

}  // namespace cohort::node
