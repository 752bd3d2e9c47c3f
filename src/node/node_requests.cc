// A request's way to whoever works on it.
#include "node/node.h"

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace cohort::node {

std::unique_ptr<Generation> Node::generate(const std::string& model,
                                           runner::GenerateRequest request) {
  auto generation = std::make_unique<Generation>(executor_, std::move(request));
  generation->model = model;
  if (draining_) {
    generation->fail(leaving());
  } else if (const cluster::InstancePlan* plan = find(model)) {
    dispatch(*generation, *plan);
  } else {
    Placement& placement = placement_of({.model = model});
    if (placement.size() >= queue_limit()) {
      generation->fail({Code::kResourceExhausted,
                        fmt::format("{} requests wait for model '{}' already; try again later",
                                    placement.size(), model)});
    } else {
      placement.add(*generation);
    }
  }
  return generation;
}

size_t Node::queue_limit() const {
  return static_cast<size_t>(options_.load.max_sequences + options_.load.max_queued);
}

// To whoever works on the instance: our own runner, or the device that drives it. Waits while nobody can.
void Node::dispatch(Generation& generation, const cluster::InstancePlan& plan) {
  const InstanceStatus status = status_of(plan);
  if (status.state == "failed") return generation.fail({failure_code(plan), status.reason});
  if (Instance* instance = instance_here(plan)) {
    const auto accepted = instance->accept(generation);
    if (!accepted) generation.fail(accepted.error());
    return;
  }
  const std::string& driver = cluster::driver_of(plan);
  mesh::Mesh* mesh = cluster_->mesh();
  if (is_driven_elsewhere(plan, status)) {
    const auto remote =
        remotes_.emplace(remotes_.end(), executor_, *mesh, driver, plan.id, generation);
    background_.spawn(run_remote(remote, plan.id));
    return;
  }
  if (parking_.size_of(plan.id) >= queue_limit()) {
    return generation.fail({Code::kResourceExhausted,
                            fmt::format("{} requests wait for model '{}' already; try again later",
                                        parking_.size_of(plan.id), plan.model)});
  }
  park(generation, plan.id, {Code::kUnavailable, "no device works on it"});
}

void Node::park(Generation& generation, const std::string& instance, Error why, bool is_coming) {
  const auto patience = is_coming ? std::chrono::milliseconds(kPlanTimeout) : options_.heal_timeout;
  parking_.add({&generation, instance, net::Clock::now() + patience, std::move(why), is_coming});
  changed_.notify_all();
}

// What a device that drives an instance says when it fails, in the code it failed with where that is known.
Code Node::failure_code(const cluster::InstancePlan& plan) const {
  const auto found = unresolved_.find(plan.id);
  return found == unresolved_.end() ? Code::kUnavailable : found->second.code;
}

net::Task<void> Node::run_remote(std::list<RemoteGeneration>::iterator remote,
                                 std::string instance) {
  co_await remote->run();
  Generation* lost = remote->lost();
  const Error why = lost != nullptr ? remote->why() : Error{};
  remotes_.erase(remote);
  if (lost != nullptr) park(*lost, instance, why);
}

net::Task<void> Node::watch_parking() {
  constexpr std::chrono::milliseconds kLookAgain{500};
  for (;;) {
    const auto deadline = parking_.empty() ? net::kNever : net::Clock::now() + kLookAgain;
    if (co_await changed_.wait(deadline) == net::Wake::kCancelled) co_return;
    retry_parked();
  }
}

void Node::retry_parked() {
  for (Parking::Car& car : parking_.take_all()) {
    const cluster::InstancePlan* plan = cluster_->plan().find(car.instance);
    car.generation->set_owner(nullptr);
    const bool is_late = net::Clock::now() >= car.deadline;
    const bool waits = !is_late && (plan == nullptr ? car.is_coming : !can_dispatch(*plan));
    if (waits) {
      parking_.add(std::move(car));
    } else if (plan == nullptr) {
      leave_to_another(*car.generation, car.why);
    } else if (is_late) {
      car.generation->fail(
          {Code::kUnavailable, fmt::format("instance {} did not come back in {} s: {}", plan->id,
                                           options_.heal_timeout.count() / 1000, car.why.message)});
    } else {
      dispatch(*car.generation, *plan);
    }
  }
}

// Its instance was stopped; perhaps before this device heard of it, and of the one in its place.
void Node::leave_to_another(Generation& generation, const Error& why) {
  const cluster::InstancePlan* other = generation.model.empty() ? nullptr : find(generation.model);
  if (other == nullptr || status_of(*other).state == "failed") return generation.fail(why);
  dispatch(generation, *other);
}

bool Node::can_dispatch(const cluster::InstancePlan& plan) {
  const InstanceStatus status = status_of(plan);
  return status.state == "failed" || instance_here(plan) != nullptr ||
         is_driven_elsewhere(plan, status);
}

// By a device that has taken it on, and that we can reach.
bool Node::is_driven_elsewhere(const cluster::InstancePlan& plan,
                               const InstanceStatus& status) const {
  const std::string& driver = cluster::driver_of(plan);
  return driver != device_id() && !status.shard.instance.empty() && cluster_->reaches(driver);
}

std::string Node::true_name(const std::string& name) const {
  const auto alias = true_names_.find(name);
  return alias == true_names_.end() ? name : alias->second;
}

// The instance with the fewest requests among those of the model that live, or that failed a moment ago.
const cluster::InstancePlan* Node::find(const std::string& model) {
  const std::string name = true_name(model);
  const cluster::InstancePlan* best = nullptr;
  std::pair<bool, int32_t> best_load;
  for (const cluster::InstancePlan& plan : cluster_->plan().instances) {
    if (plan.model != name || ending_.count(plan.id) > 0) continue;
    const InstanceStatus status = status_of(plan);
    const std::pair load(status.state == "failed", status.shard.requests);
    if (best != nullptr && best_load <= load) continue;
    best = &plan;
    best_load = load;
  }
  if (best == nullptr || !best_load.first) return best;
  const auto since = failed_since_.try_emplace(best->id, net::Clock::now()).first->second;
  if (net::Clock::now() < since + kFailedRetry) return best;
  remove_instance(best->id);
  return nullptr;
}

Instance* Node::instance_here(const cluster::InstancePlan& plan) {
  for (Instance& instance : instances_) {
    const InstanceOptions& options = instance.options();
    if (options.id == plan.id && options.epoch == plan.epoch && !instance.stopping())
      return &instance;
  }
  return nullptr;
}

const Instance* Node::instance_here(const cluster::InstancePlan& plan) const {
  return const_cast<Node*>(this)->instance_here(plan);
}

Result<std::unique_ptr<Generation>> Node::generate_for_peer(const std::string& id,
                                                            runner::GenerateRequest request) {
  const cluster::InstancePlan* plan = cluster_->plan().find(id);
  Instance* instance = plan != nullptr ? instance_here(*plan) : nullptr;
  if (instance == nullptr) return fail(Code::kUnavailable, "instance {} is not driven here", id);
  auto generation = std::make_unique<Generation>(executor_, std::move(request));
  generation->for_peer = true;
  COHORT_TRY_VOID(instance->accept(*generation));
  return generation;
}

void Node::on_stream(std::unique_ptr<mesh::Stream> stream) {
  if (draining_ || shard_host_ == nullptr) return;
  if (stream->purpose() == kShardStream) {
    shard_host_->accept(std::move(stream));
  } else if (stream->purpose() == kProbeStream) {
    link_prober_->accept(std::move(stream));
  } else if (stream->purpose() == kGaugeStream) {
    if (gauge_ != nullptr) background_.spawn(gauge_->serve(std::move(stream)));
  } else if (stream->purpose() == kGenerateStream) {
    background_.spawn(serve_generation(
        std::move(stream), [this](const std::string& instance, runner::GenerateRequest request) {
          return generate_for_peer(instance, std::move(request));
        }));
  } else {
    log::warn("device {} opened a stream for '{}', which this version does not know",
              stream->peer(), stream->purpose());
  }
}

}  // namespace cohort::node
