// The thin shell around cluster::Core: carries its messages over the mesh, tells it the time, and gives everyone else the
// documents as structs. Loop thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cluster/core.h"
#include "cluster/leadership.h"
#include "net/task.h"

namespace cohort::node {

// One line of history, for people who debug.
struct ClusterEvent {
  uint64_t number = 0;  // from 1
  int64_t unix_ms = 0;
  std::string kind;     // "device", "plan", "leader", "document"
  std::string subject;  // a device id, or a document's key
  std::string what;     // "alive", "suspect", "dead", "left", "changed"...
};

class ClusterShell {
 public:
  static constexpr std::chrono::milliseconds kTick{100};
  static constexpr size_t kMaxEvents = 1024;
  static constexpr size_t kMaxReceived = 4096;  // messages of one tick

  struct Outward {
    std::function<void(const std::string& device, std::string message)> send;
    std::function<void()> changed;  // documents, members or the leader; called from step()
  };

  // `alone`: nobody will come, so this device leads from the first moment.
  ClusterShell(cluster::Identity self, bool alone, Outward outward);

  // What the mesh reports; taken in with the next step().
  void link_up(const std::string& device) { input_.links_up.push_back(device); }
  void link_lost(const std::string& device) { input_.links_lost.push_back(device); }
  void link_closed(const std::string& device) { input_.links_closed.push_back(device); }
  void receive(const std::string& device, std::string message);
  void step();
  void leave();  // says goodbye; then only reading

  const std::string& id() const { return self_.id; }
  bool leads() const { return core_.is_leader(); }
  std::optional<std::string> leader() const { return core_.leader(); }
  const std::vector<std::string>& live() const {
    return core_.membership().live();
  }  // with self; sorted
  uint64_t term() const { return core_.term(); }

  const cluster::PlanDocument& plan() const { return plan_; }
  const cluster::Version& plan_version() const { return plan_version_; }
  // The newest plan that gave this device something to run, or took it away.
  const cluster::Version& concerning_plan() const { return concerning_plan_; }
  // Live devices (alive or suspect, ourselves among them) by id, those whose document has come.
  const cluster::Devices& devices() const { return devices_; }
  // All that are shown, the dead of the last seconds too.
  std::vector<std::pair<cluster::DeviceDocument, std::string>> devices_and_states() const;

  void publish(const cluster::DeviceDocument& self);
  void publish(const cluster::PlanDocument& plan);  // only while leads()

  const std::vector<ClusterEvent>& events() const { return events_; }  // oldest first
  bool was_superseded() const { return superseded_.has_value(); }
  std::optional<cluster::PlanDocument> take_superseded() {
    return std::exchange(superseded_, std::nullopt);
  }

 private:
  void absorb(cluster::Output output);
  void refresh();
  void record(std::string kind, std::string subject, std::string what);

  const cluster::Identity self_;
  Outward outward_;
  cluster::Core core_;
  cluster::Input input_;
  bool left_ = false;
  cluster::PlanDocument plan_;
  cluster::Version plan_version_, concerning_plan_;
  cluster::Devices devices_;
  std::map<std::string, std::pair<cluster::Version, cluster::DeviceDocument>, std::less<>> parsed_;
  std::vector<ClusterEvent> events_;
  uint64_t next_event_ = 1;
  std::optional<cluster::PlanDocument> superseded_;
};

}  // namespace cohort::node
