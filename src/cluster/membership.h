// Who is alive: SWIM (Das, Gupta, Motivala, 2002) with Lifeguard's doubt of oneself (Dadgar, Phillips, Currey, 2017).
// Each interval a device pings those it has a link with: all of them while there are few, asking three others about one
// that does not answer; else one in turn, asking that one again. Who stays silent is suspect, and a suspect that does not
// refute in time is dead. Claims travel as cargo of pings and acks, and, when there are many, from neighbour to neighbour.
// Pure: time is an argument, in milliseconds of any steady clock.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <set>
#include <unordered_map>
#include <vector>

#include "cluster/message.h"
#include "cluster/neighbours.h"
#include "cluster/random.h"
#include "cluster/rumours.h"

namespace cohort::cluster {

using TimeMs = int64_t;

struct MembershipOptions {
  TimeMs probe_interval_ms = 400;
  TimeMs probe_timeout_ms = 150;        // then three others are asked
  TimeMs relaxation = 3;                // all times this, once there are too many to probe all
  TimeMs gossip_interval_ms = 200;      // then claims travel by themselves
  TimeMs suspicion_ms = 800;            // and 100 ms more for each doubling of the cluster
  TimeMs lost_link_suspicion_ms = 400;  // its link broke, and there are few: less doubt is due
  TimeMs dead_shown_ms = 4000;          // how long the dead are listed
  TimeMs tombstone_ms = 60'000;         // how long old claims about the dead are refused
  size_t cargo_updates = 32;            // claims a ping carries
  size_t flood_updates = 512;           // claims a message to all neighbours carries
};

struct Member {
  MemberState state = MemberState::kAlive;
  uint64_t incarnation = 0;
  TimeMs since_ms = 0;  // of this state
  TimeMs suspicion_ends_ms = 0;
  bool faded = false;  // gone, and no longer shown
};

struct MemberEvent {
  DeviceId device;
  MemberState state = MemberState::kAlive;
};

class Membership {
 public:
  // `incarnation` must be higher than in any earlier life of this device: its boot time serves.
  Membership(DeviceId self, uint64_t incarnation, MembershipOptions options, Random random);

  void tick(TimeMs now_ms, std::vector<Envelope>& out);
  // kPing, kAck and kPingRequest, and the cargo of every other kind.
  void receive(TimeMs now_ms, const DeviceId& from, const Message& message,
               std::vector<Envelope>& out);
  void link_up(TimeMs now_ms, const DeviceId& device, std::vector<Envelope>& out);
  // A document says that this device lived at this incarnation.
  void learn(TimeMs now_ms, const DeviceId& device, uint64_t incarnation);
  void remind(const DeviceId& device);  // somebody has not heard the last claim about it
  void link_lost(TimeMs now_ms, const DeviceId& device);
  void link_closed(const DeviceId& device) { linked_.erase(device); }  // nobody needed it
  void leave(TimeMs now_ms, std::vector<Envelope>& out);  // tells others at once; then stop ticking

  using Members = std::unordered_map<DeviceId, Member>;
  const Members& members() const { return members_; }  // without self; with the dead
  const std::vector<DeviceId>& live() const {
    return live_;
  }  // alive or suspect, with self; sorted
  // The live others that messages go to: all while there are few, then those linked.
  std::vector<DeviceId> peers() const;
  bool few() const { return live_.size() <= kFullMeshUpTo; }
  bool is_live(const DeviceId& device) const;
  bool is_gone(const DeviceId& device,
               uint64_t incarnation) const;  // this life of it is known to have ended
  uint64_t incarnation() const { return incarnation_; }
  std::vector<MemberEvent> take_events();
  std::vector<DeviceId> take_faded();  // those gone for as long as the dead are shown; each once

  // Claims to carry on a message of any kind; counts them as sent.
  std::vector<MemberUpdate> cargo();

 private:
  struct Probe {
    DeviceId target;
    TimeMs sent_ms = 0;
    int reminders = 0;
  };
  struct Relay {  // a ping sent for somebody else
    DeviceId asker;
    uint64_t sequence = 0;
    TimeMs sent_ms = 0;
  };

  void apply(TimeMs now_ms, const MemberUpdate& update);
  void set_state(TimeMs now_ms, const DeviceId& device, uint64_t incarnation, MemberState state);
  bool suspect(TimeMs now_ms, const DeviceId& device,
               TimeMs suspicion_ms);  // true: it is, as of now
  void refute(uint64_t claimed_incarnation);
  void send_ping(TimeMs now_ms, const DeviceId& target, std::vector<Envelope>& out);
  void start_probes(TimeMs now_ms, std::vector<Envelope>& out);
  void flood_claims(TimeMs now_ms, std::vector<Envelope>& out);
  void check_probes(TimeMs now_ms, std::vector<Envelope>& out);
  void remind_of(Probe& probe, uint64_t sequence, std::vector<Envelope>& out);
  void ask_others(const Probe& probe, uint64_t sequence, std::vector<Envelope>& out);
  void bury(TimeMs now_ms);
  TimeMs next_turn_ms(const Member& troubled) const;
  void set_live(const DeviceId& device, bool live);
  TimeMs interval_ms() const {
    return options_.probe_interval_ms * (few() ? 1 : options_.relaxation);
  }
  TimeMs timeout_ms() const {
    return options_.probe_timeout_ms * (few() ? 1 : options_.relaxation);
  }
  TimeMs suspicion_ms() const;
  size_t transmit_limit() const;

  // Constant after construction.
  const DeviceId self_;
  const MembershipOptions options_;

  uint64_t incarnation_;
  Random random_;
  Members members_;
  std::vector<DeviceId> live_;  // sorted; with self
  std::set<DeviceId> linked_;
  std::map<DeviceId, Member*> troubled_;  // those of members_ that are not alive
  TimeMs next_burial_ms_ = 0;             // no troubled member's state ends before
  Rumours rumours_;
  std::map<uint64_t, Probe> probes_;  // by sequence; unanswered
  std::map<uint64_t, Relay> relays_;
  std::vector<DeviceId> round_;  // still to probe in this round, when not all are
  uint64_t next_sequence_ = 1;
  TimeMs last_tick_ms_ = -1;
  TimeMs next_probe_ms_ = 0;
  TimeMs next_claims_ms_ = 0;
  std::vector<MemberEvent> events_;
  std::vector<DeviceId> faded_;
};

}  // namespace cohort::cluster
