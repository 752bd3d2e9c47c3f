#include "node/node.h"

#include <algorithm>
#include <random>
#include <utility>

#include "base/check.h"
#include "base/log.h"

namespace cohort::node {
namespace {

constexpr size_t kBlockingThreads = 4;
constexpr size_t kMaxTrueNames = 1024;

std::string new_instance_id() {
  std::random_device random;
  return fmt::format("{:08x}", random());
}

Error leaving() { return {Code::kUnavailable, "this device is shutting down"}; }

}  // namespace

// A model on its way to an instance: its name is looked up (and downloaded) on another thread. Requests wait here.
class Node::Placement final : public GenerationOwner {
 public:
  Placement(net::Executor executor, PlaceWish wish)
      : wish_(std::move(wish)), done_(std::move(executor)) {}

  const PlaceWish& wish() const { return wish_; }
  const std::optional<Result<Instance*>>& outcome() const { return outcome_; }
  net::Notification& done() { return done_; }
  int users = 0;  // tasks that wait for the outcome

  void add(Generation& generation) {
    generation.set_owner(this);
    waiting_.push_back(&generation);
  }
  void on_dropped(Generation& generation) override { std::erase(waiting_, &generation); }
  void on_drained(Generation&) override {}
  size_t size() const { return waiting_.size(); }

  void settle(Result<Instance*> outcome) {
    outcome_ = outcome;
    for (Generation* generation : std::exchange(waiting_, {})) {
      generation->set_owner(nullptr);
      const auto accepted =
          outcome ? (*outcome)->accept(*generation) : Result<void>(tl::unexpected(outcome.error()));
      if (!accepted) generation->fail(accepted.error());
    }
    done_.notify_all();
  }

 private:
  PlaceWish wish_;
  std::optional<Result<Instance*>> outcome_;
  std::vector<Generation*> waiting_;
  net::Notification done_;
};

Result<std::unique_ptr<Node>> Node::create(net::Executor executor, NodeOptions options,
                                           ModelCatalog catalog) {
  COHORT_TRY(std::string id, node::device_id(options.data_dir));
  if (options.name.empty()) options.name = host_name();
  if (options.runner_command.empty()) options.runner_command = {net::self_executable(), "runner"};
  return std::unique_ptr<Node>(
      new Node(executor, std::move(options), std::move(catalog), std::move(id)));
}

Node::Node(net::Executor executor, NodeOptions options, ModelCatalog catalog, std::string device_id)
    : executor_(executor),
      options_(std::move(options)),
      catalog_(std::move(catalog)),
      device_id_(std::move(device_id)),
      changed_(executor),
      pool_(executor, kBlockingThreads),
      tasks_(executor) {}

Node::~Node() { COHORT_CHECK(instances_.empty() && placements_.empty()); }

// --- requests

std::unique_ptr<Generation> Node::generate(const std::string& model,
                                           runner::GenerateRequest request) {
  auto generation = std::make_unique<Generation>(executor_, std::move(request));
  if (draining_) {
    generation->fail(leaving());
    return generation;
  }
  if (Instance* instance = find(model)) {
    const auto accepted = instance->accept(*generation);
    if (!accepted) generation->fail(accepted.error());
    return generation;
  }
  Placement& placement = placement_of({.model = model});
  const auto limit = static_cast<size_t>(options_.load.max_sequences + options_.load.max_queued);
  if (placement.size() >= limit) {
    generation->fail({Code::kResourceExhausted,
                      fmt::format("{} requests wait for model '{}' already; try again later",
                                  placement.size(), model)});
  } else {
    placement.add(*generation);
  }
  return generation;
}

// The instance with the fewest requests among those of the model that live, or that failed a moment ago.
Instance* Node::find(const std::string& name) {
  const auto alias = true_names_.find(name);
  const std::string& true_name = alias == true_names_.end() ? name : alias->second;
  const auto load = [](const Instance& instance) {
    const auto status = instance.status();
    return std::pair(status.state == InstanceState::kFailed, status.requests);
  };
  Instance* best = nullptr;
  for (Instance& instance : instances_) {
    if (instance.stopping() || instance.options().model.name != true_name) continue;
    if (best == nullptr || load(instance) < load(*best)) best = &instance;
  }
  if (best == nullptr || best->status().state != InstanceState::kFailed) return best;
  if (net::Clock::now() < best->failed_at() + kFailedRetry) return best;
  best->stop("placed anew");
  return nullptr;
}

// --- placing

Node::Placement& Node::placement_of(const PlaceWish& wish) {
  for (Placement& placement : placements_) {
    if (placement.wish().model == wish.model && !placement.outcome()) return placement;
  }
  Placement& placement = placements_.emplace_back(executor_, wish);
  tasks_.spawn(run_placement(placement));
  return placement;
}

net::Task<void> Node::run_placement(Placement& placement) {
  const std::string name = placement.wish().model;
  auto look_up = [this, name, stop = stop_resolving_.get_token()] {
    return catalog_.resolve(name, stop);
  };
  Result<ModelLocation> location = co_await pool_.run(std::move(look_up));
  if (!location) {
    placement.settle(tl::unexpected(location.error()));
  } else {
    if (true_names_.size() >= kMaxTrueNames) true_names_.clear();
    true_names_[name] = location->name;
    placement.settle(create_instance(std::move(*location), placement.wish()));
  }
  while (placement.users > 0) co_await placement.done().wait_uncancelled();
  placements_.remove_if([&](const Placement& other) { return &other == &placement; });
  changed_.notify_all();
}

Result<Instance*> Node::create_instance(ModelLocation location, const PlaceWish& wish) {
  if (draining_) return tl::unexpected(leaving());
  const bool is_plain = wish.context_length == 0 && wish.concurrency == 0;
  if (Instance* instance = is_plain ? find(location.name) : nullptr)
    return instance;  // another name of it
  COHORT_TRY_VOID(check_room(location));
  InstanceOptions options{
      .id = new_instance_id(), .model = std::move(location), .load = options_.load};
  options.load.model = options.model.source;
  options.load.model_name = options.model.name;
  if (wish.context_length > 0) options.load.context_length = wish.context_length;
  if (wish.concurrency > 0) options.load.max_sequences = wish.concurrency;
  if (options_.memory_limit_bytes > 0) {  // check_room() saw to it that something is left
    options.load.memory_limit_bytes = options_.memory_limit_bytes - placed_bytes();
  }
  options.runner_command = options_.runner_command;
  options.idle_unload = options_.idle_unload;
  options.restart = options_.restart;
  options.on_change = [this] { changed_.notify_all(); };
  log::info("instance {}: placing {} here", options.id, options.model.name);
  const auto instance = instances_.emplace(instances_.end(), executor_, std::move(options));
  tasks_.spawn(run_instance(instance));
  changed_.notify_all();
  return &*instance;
}

// What instances hold; of one that still loads, what it will hold at least.
uint64_t Node::placed_bytes() const {
  uint64_t total = 0;
  for (const Instance& instance : instances_) {
    const InstanceStatus status = instance.status();
    total +=
        status.ready ? status.ready->weight_bytes + status.ready->kv_bytes : status.weight_bytes;
  }
  return total;
}

Result<void> Node::check_room(const ModelLocation& location) const {
  if (!options_.place)
    return fail(Code::kUnavailable, "this device places no models (--no-worker)");
  if (instances_.size() >= kMaxInstances) {
    return fail(Code::kUnavailable, "{} instances run already; stop one", instances_.size());
  }
  FitQuestion question{.model = location.name, .weight_bytes = location.weight_bytes};
  question.placed_bytes = placed_bytes();
  question.limit_bytes = options_.memory_limit_bytes;
  question.memory = device_memory();
  return check_fits(question);
}

net::Task<void> Node::run_instance(std::list<Instance>::iterator instance) {
  co_await instance->run();
  instances_.erase(instance);
  changed_.notify_all();
}

net::Task<Result<InstanceStatus>> Node::place(PlaceWish wish, bool wait) {
  if (draining_) co_return tl::unexpected(leaving());
  Placement& placement = placements_.emplace_back(executor_, std::move(wish));
  ++placement.users;
  tasks_.spawn(run_placement(placement));
  while (!placement.outcome()) co_await placement.done().wait_uncancelled();
  const Result<Instance*> outcome = *placement.outcome();
  --placement.users;
  placement.done().notify_all();
  if (!outcome) co_return tl::unexpected(outcome.error());
  const std::string id = (*outcome)->options().id;
  for (;;) {
    const auto found =
        std::find_if(instances_.begin(), instances_.end(),
                     [&](const Instance& instance) { return instance.options().id == id; });
    if (found == instances_.end()) co_return fail(Code::kUnavailable, "the instance was stopped");
    const InstanceStatus status = found->status();
    if (status.state == InstanceState::kFailed)
      co_return fail(Code::kUnavailable, "{}", status.reason);
    if (!wait || status.state == InstanceState::kReady) co_return status;
    if (co_await changed_.wait() == net::Wake::kCancelled)
      co_return fail(Code::kCancelled, "cancelled");
  }
}

net::Task<Result<std::vector<std::string>>> Node::stop(std::string name) {
  const auto alias = true_names_.find(name);
  const std::string true_name = alias == true_names_.end() ? name : alias->second;
  std::vector<std::string> stopped;
  for (Instance& instance : instances_) {
    if (instance.options().id != name && instance.options().model.name != true_name) continue;
    stopped.push_back(instance.options().id);
    instance.stop("the instance was stopped");
  }
  if (stopped.empty())
    co_return fail(Code::kNotFound, "there is no instance '{}' and none of such a model", name);
  const auto still_there = [&] {
    return std::any_of(instances_.begin(), instances_.end(), [&](const Instance& instance) {
      return std::find(stopped.begin(), stopped.end(), instance.options().id) != stopped.end();
    });
  };
  while (still_there()) {
    if (co_await changed_.wait() == net::Wake::kCancelled) break;
  }
  co_return stopped;
}

// --- what others want to know

std::vector<InstanceStatus> Node::instances() const {
  std::vector<InstanceStatus> all;
  for (const Instance& instance : instances_) all.push_back(instance.status());
  return all;
}

std::vector<DeviceStatus> Node::devices() const {
  return {{.id = device_id_,
           .name = options_.name,
           .memory = device_memory(),
           .rss_bytes = own_rss_bytes()}};
}

net::Task<std::vector<ModelListing>> Node::models() {
  auto list = [this] { return catalog_.list(); };
  co_return co_await pool_.run(std::move(list));
}

net::Task<Result<void>> Node::prove_ready() {
  if (draining_) co_return tl::unexpected(leaving());
  std::string model;
  for (const Instance& instance : instances_) {
    if (instance.status().state != InstanceState::kReady) continue;
    if (net::Clock::now() - instance.last_token_at() < kTokenProof) co_return Result<void>{};
    model = instance.options().model.name;
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

// --- the end

size_t Node::requests() const {
  size_t count = 0;
  for (const Instance& instance : instances_) count += instance.status().requests;
  for (const Placement& placement : placements_) count += placement.size();
  return count;
}

net::Task<void> Node::drain(net::TimePoint deadline) {
  constexpr std::chrono::milliseconds kPollInterval{20};
  draining_ = true;
  stop_resolving_.request_stop();
  while (requests() > 0 && net::Clock::now() < deadline) {
    const net::TimePoint next = std::min(deadline, net::Clock::now() + kPollInterval);
    if (co_await changed_.wait(next) == net::Wake::kCancelled) break;
  }
}

net::Task<void> Node::close() {
  draining_ = true;
  stop_resolving_.request_stop();
  for (Instance& instance : instances_) instance.stop(leaving().message);
  co_await tasks_.join();
}

}  // namespace cohort::node
