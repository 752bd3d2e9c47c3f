// The daemon's heart on one device: which models are placed, and who generates for whom. Loop thread only.
#pragma once

#include <chrono>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "base/result.h"
#include "net/blocking_pool.h"
#include "net/task.h"
#include "node/device.h"
#include "node/generation.h"
#include "node/instance.h"
#include "node/model_catalog.h"

namespace cohort::node {

struct NodeOptions {
  std::string name;                         // as people call this device; "": the host's
  std::string data_dir;                     // "": nothing is kept
  std::vector<std::string> runner_command;  // empty: this binary's `runner`
  runner::LoadCommand load;                 // defaults of instances; model fields are filled in
  uint64_t memory_limit_bytes = 0;          // of all instances together; 0: the machine's
  std::chrono::milliseconds idle_unload{600'000};
  RestartPolicy::Options restart;
  bool place = true;  // false: this device places nothing (--no-worker)
};

struct PlaceWish {
  std::string model;
  int32_t context_length = 0;  // 0: what memory and the model allow
  int32_t concurrency = 0;     // requests at once; 0: the default
};

struct DeviceStatus {
  std::string id;
  std::string name;
  DeviceMemory memory;
  uint64_t rss_bytes = 0;
};

class Node {
 public:
  static constexpr size_t kMaxInstances = 32;
  static constexpr std::chrono::seconds kTokenProof{
      60};  // a token younger than that proves readiness
  static constexpr std::chrono::seconds kFailedRetry{
      30};  // a failed instance is placed anew after that
  static constexpr std::chrono::seconds kProofTimeout{20};

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

  std::vector<InstanceStatus> instances() const;
  std::vector<DeviceStatus> devices() const;
  const std::string& device_id() const { return device_id_; }
  net::Task<std::vector<ModelListing>> models();
  net::BlockingPool& blocking_pool() { return pool_; }

  // A token came lately, or comes now.
  net::Task<Result<void>> prove_ready();

  // From now on requests are refused; returns when none runs, or at the deadline.
  net::Task<void> drain(net::TimePoint deadline);
  net::Task<void> close();  // stops all instances
  bool draining() const { return draining_; }

 private:
  class Placement;

  Node(net::Executor executor, NodeOptions options, ModelCatalog catalog, std::string device_id);
  Instance* find(const std::string& name);
  Placement& placement_of(const PlaceWish& wish);
  net::Task<void> run_placement(Placement& placement);
  net::Task<void> run_instance(std::list<Instance>::iterator instance);
  Result<Instance*> create_instance(ModelLocation location, const PlaceWish& wish);
  Result<void> check_room(const ModelLocation& location) const;
  uint64_t placed_bytes() const;
  size_t requests() const;

  net::Executor executor_;
  const NodeOptions options_;
  const ModelCatalog catalog_;
  const std::string device_id_;
  bool draining_ = false;
  std::stop_source stop_resolving_;
  std::list<Instance> instances_;
  std::map<std::string, std::string> true_names_;  // what users asked for -> ModelLocation::name
  std::list<Placement> placements_;                // under way
  net::Notification changed_;                      // instances_, placements_
  net::BlockingPool pool_;
  net::TaskGroup tasks_;
};

}  // namespace cohort::node
