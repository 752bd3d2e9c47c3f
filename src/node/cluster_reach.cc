// Which devices this one holds links with, and how it reaches the others.
#include <algorithm>

#include "cluster/neighbours.h"
#include "node/cluster.h"

namespace cohort::node {

// Asked several times a second: worked out anew when somebody has come or gone.
std::set<std::string> Cluster::dispensable(const std::set<std::string>& heard) {
  const std::vector<std::string>& live = shell_->live();
  if (heard == known_heard_ && live == known_live_) return dispensable_;
  known_heard_ = heard;
  known_live_ = live;
  std::set<std::string> known = heard;
  known.insert(live.begin(), live.end());
  known.erase(id());
  neighbours_ = cluster::neighbours(id(), known);
  dispensable_.clear();
  std::set_difference(known.begin(), known.end(), neighbours_.begin(), neighbours_.end(),
                      std::inserter(dispensable_, dispensable_.end()));
  return dispensable_;
}

// The addresses of those we may have to dial, as they say themselves: beacons do not come from everywhere.
void Cluster::introduce_needed() {
  if (!mesh_) return;
  std::set<std::string> needed = neighbours_;
  if (const auto leader = shell_->leader()) needed.insert(*leader);
  for (const cluster::InstancePlan& instance : plan().instances) {
    for (const cluster::RankPlan& rank : cluster::ranks_of(instance))
      needed.insert(rank.member.device);
  }
  for (const std::string& device : needed) {
    const auto known = devices().find(device);
    if (known == devices().end() || device == id() || mesh_->find(device) != nullptr) continue;
    std::vector<std::string> hosts;
    for (const cluster::AddressDocument& own : known->second.addresses)
      hosts.push_back(own.address);
    mesh_->introduce(device, hosts, known->second.mesh_port);
  }
}

bool Cluster::reaches(const std::string& device) const {
  if (!mesh_) return false;
  if (mesh_->find(device) != nullptr) return true;
  const std::vector<std::string>& live = shell_->live();
  return live.size() > cluster::kFullMeshUpTo &&
         std::binary_search(live.begin(), live.end(), device) && !mesh_->address_of(device).empty();
}

}  // namespace cohort::node
