// The cluster as one device sees it: step(now, input) -> output, and nothing else. No file of this module opens a socket or
// reads a clock; the daemon (or a test) carries messages, tells the time and acts on what comes out.
//
// The leader is the writer of the newest plan while it lives. When it does not, the longest-lived live device (ties by
// id) adopts the plan as it stands, under a higher term. Running instances are never torn down for that.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cluster/gossip.h"
#include "cluster/membership.h"

namespace cohort::cluster {

struct CoreOptions {
  MembershipOptions membership;
  GossipOptions gossip;
  TimeMs election_delay_ms = 700;  // without a leader, before the oldest takes over
};

struct Identity {
  DeviceId id;
  uint64_t boot_unix_ms = 0;  // of this process; orders lives of a device and devices by age
};

struct Input {
  std::vector<std::pair<DeviceId, Message>> received;
  std::vector<DeviceId> links_up, links_lost;
  std::vector<DeviceId> links_closed;      // in good order: nobody needed them
  std::optional<std::string> device_body;  // new content of this device's document
  std::optional<std::string>
      plan_body;       // new content of the plan; ignored unless this device leads
  bool leave = false;  // say goodbye
};

struct Output {
  std::vector<Envelope> send;
  std::vector<MemberEvent> members;  // who changed state
  std::vector<std::string> changed;  // keys of documents that others changed
  bool leader_changed = false;
  // This device led, and a newer leader's plan replaced its own: what it had planned, for the new leader to adopt.
  std::optional<std::string> superseded_plan;
};

class Core {
 public:
  Core(Identity self, CoreOptions options, uint64_t random_seed);

  // Call at least every 100 ms, and whenever there is input. `now_ms` must not go back.
  Output step(TimeMs now_ms, Input input);

  const Membership& membership() const { return membership_; }
  const Documents& documents() const { return gossip_.documents(); }
  std::optional<DeviceId> leader() const;  // live, as far as this device knows
  bool is_leader() const { return leader() == self_.id; }
  uint64_t term() const;

 private:
  void receive(TimeMs now_ms, const DeviceId& from, Message& message, Output& output);
  void publish_device(std::string body);
  void publish_plan(std::string body, uint64_t term);
  void elect(TimeMs now_ms);
  DeviceId oldest_live() const;

  const Identity self_;
  const CoreOptions options_;
  Membership membership_;
  Gossip gossip_;
  uint64_t device_counter_ = 0;
  TimeMs leaderless_since_ms_ = -1;
  std::optional<DeviceId> last_leader_;
};

}  // namespace cohort::cluster
