#include "node/node.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"

namespace cohort::node {
namespace {

constexpr size_t kBlockingThreads = 4;

}  // namespace

Result<std::unique_ptr<Node>> Node::create(net::Executor executor, NodeOptions options,
                                           ModelCatalog catalog) {
  if (options.name.empty()) options.name = host_name();
  if (options.runner_command.empty()) options.runner_command = {net::self_executable(), "runner"};
  std::unique_ptr<Node> node(new Node(executor, std::move(options), std::move(catalog)));
  COHORT_TRY_VOID(node->join_cluster());
  return node;
}

Node::Node(net::Executor executor, NodeOptions options, ModelCatalog catalog)
    : executor_(executor),
      options_(std::move(options)),
      catalog_(std::move(catalog)),
      changed_(executor),
      pool_(executor, kBlockingThreads),
      tasks_(executor),
      background_(executor) {}

Node::~Node() {
  COHORT_CHECK(instances_.empty() && placements_.empty() && remotes_.empty() && parking_.empty());
}

Result<void> Node::join_cluster() {
  COHORT_TRY(mesh::Identity identity, mesh::Identity::load_or_create(options_.data_dir));
  ClusterOptions options{.mesh = options_.mesh,
                         .id = identity.id(),
                         .name = options_.name,
                         .boot_unix_ms = static_cast<uint64_t>(unix_ms())};
  if (options.mesh) {
    options.mesh->identity = identity;
    options.mesh->name = options_.name;
    options.mesh->data_dir = options_.data_dir;
    options.mesh->boot_unix_ms = options.boot_unix_ms;
  }
  ClusterEvents events;
  events.describe = [this](cluster::DeviceDocument& self) { describe(self); };
  events.changed = [this] { on_cluster_changed(); };
  events.stream = [this](std::unique_ptr<mesh::Stream> stream) { on_stream(std::move(stream)); };
  events.describe_link = [this](cluster::LinkDocument& link) {
    if (link_prober_) link_prober_->describe(link);
  };
  events.busy = [this] { return computes() || (link_prober_ && link_prober_->is_measuring()); };
  COHORT_TRY(cluster_, Cluster::create(executor_, std::move(options), std::move(events)));
  if (options_.measure_memory) {
    MemoryGauge::Outward outward{.measure = options_.measure_memory};
    outward.busy = [this] { return computes() || (link_prober_ && link_prober_->is_measuring()); };
    outward.changed = [this] { cluster_->publish(); };
    gauge_ = std::make_unique<MemoryGauge>(executor_, *cluster_, pool_, std::move(outward));
  }
  if (cluster_->mesh() != nullptr) {
    ShardHostOptions host{.runner_command = options_.runner_command,
                          .takes_shards = options_.place};
    host.localize = [this](runner::LoadCommand load) { return localize(std::move(load)); };
    host.on_change = [this] { cluster_->mark_dirty(); };
    shard_host_ =
        std::make_unique<ShardHost>(executor_, *cluster_->mesh(), catalog_, pool_, std::move(host));
  }
  if (cluster_->mesh() != nullptr) {
    LinkProber::Surroundings around{.runner_command = options_.runner_command};
    around.own_id = device_id();
    around.devices = [this]() -> const cluster::Devices& { return cluster_->devices(); };
    around.busy = [this] { return draining_ || computes(); };
    around.changed = [this] { cluster_->publish(); };
    link_prober_ = std::make_unique<LinkProber>(executor_, *cluster_->mesh(), std::move(around));
  }
  background_.spawn(watch_parking());
  if (options_.measure_speed) background_.spawn(measure_speed());
  if (options_.examine_rdma) background_.spawn(watch_rdma());
  cluster_->publish();
  return {};
}

net::Task<void> Node::measure_speed() {
  auto measure = options_.measure_speed;
  measuring_speed_ = true;
  speed_ = co_await pool_.run(std::move(measure));
  measuring_speed_ = false;
  if (!closing_) cluster_->publish();
}

// As it is now, for a plan that is about to be made.
net::Task<void> Node::measure_memory() {
  if (gauge_ != nullptr && !draining_) co_await gauge_->refresh();
}

// Cables are plugged and addresses given while the device runs.
net::Task<void> Node::watch_rdma() {
  constexpr std::chrono::seconds kInterval{10};
  for (;;) {
    auto examine = options_.examine_rdma;
    cluster::RdmaDocument seen = co_await pool_.run(std::move(examine));
    if (seen != rdma_ && !closing_) {
      rdma_ = std::move(seen);
      cluster_->publish();
    }
    const net::TimePoint next = net::Clock::now() + kInterval;
    if (co_await net::sleep_until(next) == net::Wake::kCancelled) co_return;
  }
}

size_t Node::requests() const {
  size_t count = remotes_.size() + parking_.size();
  for (const Instance& instance : instances_) count += instance.requests();
  for (const Placement& placement : placements_) count += placement.size();
  return count;
}

// Other devices count on a shard here, and could do without.
bool Node::is_needed() const {
  if (cluster_->devices().size() < 2) return false;
  const auto& instances = cluster_->plan().instances;
  return std::any_of(instances.begin(), instances.end(),
                     [&](const cluster::InstancePlan& plan) { return plan.involves(device_id()); });
}

net::Task<void> Node::drain(net::TimePoint deadline) {
  constexpr std::chrono::milliseconds kPollInterval{20};
  draining_ = true;
  stop_resolving_.request_stop();
  cluster_->publish();
  while ((requests() > 0 || is_needed()) && net::Clock::now() < deadline) {
    const net::TimePoint next = std::min(deadline, net::Clock::now() + kPollInterval);
    if (co_await changed_.wait(next) == net::Wake::kCancelled) break;
  }
}

net::Task<void> Node::close() {
  draining_ = closing_ = true;
  stop_resolving_.request_stop();
  for (Instance& instance : instances_) instance.stop(leaving().message);
  for (Parking::Car& car : parking_.take_all()) {
    car.generation->set_owner(nullptr);
    car.generation->fail(leaving());
  }
  co_await background_.close();
  if (gauge_) co_await gauge_->close();
  for (RemoteGeneration& remote : remotes_) remote.abandon(leaving());
  remotes_.clear();
  co_await tasks_.join();
  if (shard_host_) co_await shard_host_->close();
  if (link_prober_) co_await link_prober_->close();
  co_await cluster_->close();
}

}  // namespace cohort::node
