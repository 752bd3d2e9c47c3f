// The daemon's heart: takes requests, finds or has placed the instance that answers them, and runs the shards that the plan
// gives this device. Loop thread only.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "net/blocking_pool.h"
#include "net/task.h"
#include "node/cluster.h"
#include "node/device.h"
#include "node/generation.h"
#include "node/instance.h"
#include "node/link_prober.h"
#include "node/memory_gauge.h"
#include "node/model_catalog.h"
#include "node/parking.h"
#include "node/placement.h"
#include "node/remote_generation.h"
#include "node/shard_host.h"

namespace cohort::node {

struct NodeOptions {
  std::string name;                         // as people call this device; "": the host's
  std::string data_dir;                     // "": nothing is kept
  std::vector<std::string> runner_command;  // empty: this binary's `runner`
  runner::LoadCommand load;                 // defaults of instances; model fields are filled in
  uint64_t memory_limit_bytes = 0;          // of all instances together; 0: the machine's
  std::chrono::milliseconds idle_unload{600'000};
  RestartPolicy::Options restart;
  bool place = true;  // false: this device takes no shards (--no-worker)
  std::optional<mesh::MeshOptions>
      mesh;  // none: this device stays alone. Its identity and name are filled in
  std::function<DeviceSpeed()> measure_speed;  // called once, on another thread; none: unknown
  // What memory gives in each window, GB/s; called before plans, on another thread; none: it stays as measure_speed() says.
  std::function<Result<std::vector<double>>(const std::vector<MeasuringWindow>&)> measure_memory;
  std::function<cluster::RdmaDocument()> examine_rdma;  // called now and then, on another thread
  std::chrono::milliseconds heal_timeout{
      120'000};  // a stream waits so long for its instance to come back
};

struct PlaceWish {
  std::string model;
  cluster::InstanceWishes wishes;
  bool another = false;  // also when there is an instance that would do
};

struct MemberStatus {
  std::string device, device_name;
  int32_t rank = 0;
  int32_t first_layer = 0, last_layer = 0;  // exclusive
  double fraction = 1;
};

// Ranks that send each other more than a farewell, and what they are linked by: as planned, or as they found once they
// are linked.
struct PairStatus {
  int32_t first = 0, second = 0;
  std::string transport;
};

struct InstanceStatus {
  std::string id;
  std::string model;
  std::string sharding;
  std::string state;   // loading | ready | healing | failed
  std::string reason;  // of failed and healing
  std::string why;     // why it was placed so
  std::vector<MemberStatus> members;
  std::vector<PairStatus> pairs;
  cluster::PredictionPlan predicted;
  int32_t heals = 0;             // by moving shards, and by starting a crashed runner again
  cluster::ShardDocument shard;  // of rank 0: sizes, counters, speed
};

std::vector<MemberStatus> members_of(const cluster::InstancePlan& plan);  // by rank
std::vector<PairStatus> pairs_of(const cluster::InstancePlan& plan,
                                 const cluster::Devices& devices);

struct DeviceStatus {
  cluster::DeviceDocument facts;
  std::string state;  // alive | suspect | dead
  bool self = false, leader = false;
};

// Somebody who came, or whom we dialed, and who did not become a peer.
struct RefusedPeer {
  std::string address;
  std::string why, remedy;  // remedy "": the reason says it, or none is known
  int64_t first_unix_ms = 0, last_unix_ms = 0;
  uint64_t times = 0;
};

// A placement of a model that was asked about, with the devices its indices mean.
struct PlanAnswer {
  cluster::Topology topology;
  std::vector<cluster::Placement> placements;  // best first
  std::string rdma_worth;                      // "": no pair has it, or it is forbidden
};

// The plan's cut as a runner is told it.
runner::GroupLayout layout_of(const cluster::InstancePlan& plan);

class Node {
 public:
  static constexpr std::chrono::seconds kTokenProof{
      60};  // a token younger than that proves readiness
  static constexpr std::chrono::seconds kFailedRetry{
      30};  // a failed instance is placed anew after that
  static constexpr std::chrono::seconds kProofTimeout{20};
  static constexpr std::chrono::seconds kPlanTimeout{
      10};  // from the leader's word to the plan's arrival

  static Result<std::unique_ptr<Node>> create(net::Executor executor, NodeOptions options,
                                              ModelCatalog catalog);
  ~Node();  // after close()

  // Always gives a generation; what goes wrong (no such model, no memory, queue full) comes out of its next(). A model
  // without an instance is placed first.
  std::unique_ptr<Generation> generate(const std::string& model, runner::GenerateRequest request);

  // Starts an instance beside those there are; with `wait` until it is ready or failed (which then is the error).
  net::Task<Result<InstanceStatus>> place(PlaceWish wish, bool wait);
  // By id, or all instances of a model; returns when they have ended. kNotFound.
  net::Task<Result<std::vector<std::string>>> stop(std::string instance_or_model);
  net::Task<Result<PlanAnswer>> plan(PlaceWish wish);

  std::vector<InstanceStatus> instances() const;
  std::vector<DeviceStatus> devices() const;
  std::vector<RefusedPeer> refused_peers() const;  // by this device; the latest first
  const Cluster& cluster() const { return *cluster_; }
  const std::string& device_id() const { return cluster_->id(); }
  net::Task<std::vector<ModelListing>> models();
  net::BlockingPool& blocking_pool() { return pool_; }
  net::Notification& changed() { return changed_; }  // instances, devices

  // A token came lately, or comes now.
  net::Task<Result<void>> prove_ready();

  // From now on requests are refused and shards move to other devices; returns when none runs here, or at the deadline.
  net::Task<void> drain(net::TimePoint deadline);
  net::Task<void> close();  // ends all that runs here, and leaves the cluster
  bool draining() const { return draining_; }

 private:
  Node(net::Executor executor, NodeOptions options, ModelCatalog catalog);
  Result<void> join_cluster();

  // Requests.
  size_t queue_limit() const;
  void dispatch(Generation& generation, const cluster::InstancePlan& plan);
  void leave_to_another(Generation& generation, const Error& why);
  bool can_dispatch(const cluster::InstancePlan& plan);
  bool is_driven_elsewhere(const cluster::InstancePlan& plan, const InstanceStatus& status) const;
  void park(Generation& generation, const std::string& instance, Error why, bool is_coming = false);
  net::Task<void> watch_parking();
  net::Task<void> measure_speed();
  net::Task<void> measure_memory();
  net::Task<void> watch_rdma();
  void retry_parked();
  const cluster::InstancePlan* find(const std::string& model);
  Instance* instance_here(const cluster::InstancePlan& plan);
  const Instance* instance_here(const cluster::InstancePlan& plan) const;
  net::Task<void> run_remote(std::list<RemoteGeneration>::iterator remote, std::string instance);
  Result<std::unique_ptr<Generation>> generate_for_peer(const std::string& instance,
                                                        runner::GenerateRequest request);
  void on_stream(std::unique_ptr<mesh::Stream> stream);
  size_t requests() const;

  // Placing.
  Placement& placement_of(const PlaceWish& wish);
  net::Task<void> run_placement(std::list<Placement>::iterator placement, PlaceWish wish);
  net::Task<Result<ModelLocation>> look_up(std::string name);
  net::Task<Result<std::string>> place_named(PlaceWish wish, bool reuse);
  std::string true_name(const std::string& name) const;
  bool have_heard(const std::set<std::string>& members, const cluster::Version& plan) const;
  bool have_ended(const std::vector<std::string>& instances) const;
  void remove_instance(const std::string& id);

  // What the plan gives this device.
  void on_cluster_changed();
  void reconcile();
  void start_instance(const cluster::InstancePlan& plan);
  net::Task<void> bring_up(std::string id, std::string model);
  InstanceOptions instance_options(const cluster::InstancePlan& plan, ModelLocation location);
  net::Task<void> run_instance(std::list<Instance>::iterator instance);
  runner::LoadCommand localize(runner::LoadCommand load) const;
  uint64_t held_bytes() const;
  bool is_needed() const;

  // What is said of it.
  std::vector<cluster::ShardDocument> shards_here() const;
  void describe(cluster::DeviceDocument& self) const;
  InstanceStatus status_of(const cluster::InstancePlan& plan) const;
  Code failure_code(const cluster::InstancePlan& plan) const;
  bool computes() const;  // a request, or the measurement of its own speed

  net::Executor executor_;
  const NodeOptions options_;
  const ModelCatalog catalog_;
  DeviceSpeed speed_;
  bool measuring_speed_ = false;
  cluster::RdmaDocument rdma_;
  bool draining_ = false, closing_ = false;
  std::stop_source stop_resolving_;
  std::unique_ptr<Cluster> cluster_;
  std::unique_ptr<MemoryGauge> gauge_;       // where memory can be measured
  std::unique_ptr<ShardHost> shard_host_;    // with a mesh
  std::unique_ptr<LinkProber> link_prober_;  // the same
  std::list<Instance> instances_;            // those this device drives
  std::set<std::string> starting_;           // instances whose model is looked up
  std::map<std::string, Error> unresolved_;  // instances whose model this device cannot have
  std::set<std::string> ending_;             // instances the leader is asked to end
  std::map<std::string, net::TimePoint> failed_since_;
  std::list<RemoteGeneration> remotes_;  // those other devices work on
  Parking parking_;
  std::map<std::string, std::string> true_names_;  // what users asked for -> ModelLocation::name
  std::list<Placement> placements_;                // under way
  net::Notification changed_;
  net::BlockingPool pool_;
  net::TaskGroup tasks_;       // end by themselves once their instances do
  net::TaskGroup background_;  // cancelled at the end
};

}  // namespace cohort::node
