// This device's part in the cluster: its links, its document, the documents of the others, and the leader's duties while it
// leads. Loop thread only.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/json.h"
#include "mesh/mesh.h"
#include "node/cluster_shell.h"
#include "node/host_mark.h"
#include "runner/protocol.h"

namespace cohort::node {

struct ClusterOptions {
  std::optional<mesh::MeshOptions> mesh;  // none: alone for ever
  std::string id;                         // without a mesh
  std::string name;
  uint64_t boot_unix_ms = 0;
};

struct ClusterEvents {
  std::function<void(cluster::DeviceDocument& self)> describe;  // fills in what changes
  std::function<void(cluster::LinkDocument& link)> describe_link = [](auto&) {};  // adds ways
  std::function<void()> changed;  // documents, members, leader, links
  std::function<void(std::unique_ptr<mesh::Stream> stream)>
      stream;                  // for the node; not of kCallStream
  std::function<bool()> busy;  // a measurement would disturb
};

class Cluster {
 public:
  static constexpr size_t kMaxInstances = 64;
  static constexpr std::chrono::seconds kCallTimeout{20};
  static constexpr std::chrono::seconds kFactsInterval{10};
  static constexpr std::chrono::seconds kBusyInterval{1};

  static Result<std::unique_ptr<Cluster>> create(net::Executor executor, ClusterOptions options,
                                                 ClusterEvents events);
  ~Cluster();  // after close()

  const std::string& id() const { return shell_->id(); }
  mesh::Mesh* mesh() { return mesh_.get(); }
  const mesh::Mesh* mesh() const { return mesh_.get(); }
  // Linked, or, where there are too many devices for links with all, live and somewhere we know.
  bool reaches(const std::string& device) const;
  uint16_t mesh_port() const { return mesh_ ? mesh_->port() : 0; }
  const ClusterShell& shell() const { return *shell_; }
  const cluster::PlanDocument& plan() const { return shell_->plan(); }
  const cluster::Devices& devices() const { return shell_->devices(); }

  // Our document is out of date: published with the next tick, or now.
  void mark_dirty() { dirty_ = true; }
  void publish();

  // Decided by the leader, wherever it is. kUnavailable: no leader in time, or nothing fits (says what is missing).
  // place() gives the instance's id; with `reuse` one of the model that is there already will do.
  net::Task<Result<std::string>> place(std::string model, cluster::ModelCost cost,
                                       cluster::InstanceWishes wishes, bool reuse);
  // Gives the first plan without them; one without a term where the leader's version does not tell.
  net::Task<Result<cluster::Version>> stop(std::vector<std::string> instances);

  Result<std::vector<cluster::Placement>> placements(const cluster::ModelCost& cost,
                                                     const cluster::InstanceWishes& wishes,
                                                     cluster::Topology& topology) const;
  std::string rdma_worth(const cluster::ModelCost& cost, const cluster::InstanceWishes& wishes,
                         const std::vector<cluster::Placement>& placements) const;

  net::Task<void> close();  // says goodbye

 private:
  Cluster(net::Executor executor, ClusterEvents events)
      : events_(std::move(events)), tasks_(executor) {}
  mesh::MeshEvents mesh_events();
  void on_stream(std::unique_ptr<mesh::Stream> stream);
  net::Task<void> tick();
  void lead();
  void fill_links(cluster::DeviceDocument& self) const;
  std::set<std::string> dispensable(const std::set<std::string>& heard);
  void introduce_needed();
  void links_changed();
  std::vector<cluster::WayDocument> ways_to(const std::string& peer) const;
  bool shares_host(const std::string& mark) const;
  bool has_new_mark() const;

  Result<std::string> place_here(const std::string& model, const cluster::ModelCost& cost,
                                 const cluster::InstanceWishes& wishes, bool reuse);
  void stop_here(const std::vector<std::string>& instances);
  net::Task<void> serve_call(std::unique_ptr<mesh::Stream> stream);
  Result<Json> answer_call(const Json& call);
  net::Task<Result<Json>> call_leader(Json call);

  ClusterEvents events_;
  std::unique_ptr<mesh::Mesh> mesh_;
  std::unique_ptr<ClusterShell> shell_;
  std::optional<HostMark> host_mark_;
  cluster::DeviceDocument self_;
  // Of peers: whether they are on this host, by the mark that was tried.
  mutable std::map<std::string, bool> same_host_;
  bool dirty_ = true;
  bool leading_ = false;               // inside lead()
  std::set<std::string> known_heard_;  // what the next two were made of
  std::vector<std::string> known_live_;
  std::set<std::string> neighbours_, dispensable_;
  std::map<std::string, std::string> adopted_;  // orphans seen, by device: each is taken over once
  net::TimePoint next_facts_, next_news_;
  net::TaskGroup tasks_;
};

}  // namespace cohort::node
