#include "cluster/membership.h"

#include <algorithm>
#include <bit>
#include <iterator>
#include <limits>
#include <utility>

#include "base/check.h"

namespace cohort::cluster {
namespace {

constexpr size_t kHelpers = 3;        // others asked to ping a silent member
constexpr size_t kMaxMembers = 4096;  // claims about more are ignored
constexpr size_t kMaxRelays = 1024;
constexpr uint64_t kMaxIncarnationStep = 1ull << 48;  // a claim further ahead than this is nonsense

bool gone(MemberState state) { return state == MemberState::kDead || state == MemberState::kLeft; }

Message ping(MessageType type, uint64_t sequence) {
  Message message;
  message.type = static_cast<uint8_t>(type);
  message.sequence = sequence;
  return message;
}

}  // namespace

Membership::Membership(DeviceId self, uint64_t incarnation, MembershipOptions options,
                       Random random)
    : self_(std::move(self)),
      options_(options),
      incarnation_(incarnation),
      random_(random),
      live_{self_} {
  rumours_.add({self_, incarnation_, static_cast<uint8_t>(MemberState::kAlive)});
}

TimeMs Membership::suspicion_ms() const {
  return options_.suspicion_ms * (few() ? 1 : options_.relaxation) +
         100 * static_cast<TimeMs>(std::bit_width(members_.size()));
}

size_t Membership::transmit_limit() const {
  return 2 * static_cast<size_t>(std::bit_width(members_.size() + 1));
}

bool Membership::is_live(const DeviceId& device) const {
  if (device == self_) return true;
  const auto found = members_.find(device);
  return found != members_.end() && !gone(found->second.state);
}

std::vector<MemberEvent> Membership::take_events() { return std::exchange(events_, {}); }

std::vector<DeviceId> Membership::take_faded() { return std::exchange(faded_, {}); }

void Membership::set_live(const DeviceId& device, bool live) {
  const auto place = std::lower_bound(live_.begin(), live_.end(), device);
  if (live) {
    live_.insert(place, device);
  } else {
    live_.erase(place);
  }
}

std::vector<DeviceId> Membership::peers() const {
  std::vector<DeviceId> peers;
  std::copy_if(linked_.begin(), linked_.end(), std::back_inserter(peers),
               [this](const DeviceId& device) { return device != self_ && is_live(device); });
  return peers;
}

std::vector<MemberUpdate> Membership::cargo() {
  return rumours_.take(options_.cargo_updates, transmit_limit());
}

void Membership::set_state(TimeMs now_ms, const DeviceId& device, uint64_t incarnation,
                           MemberState state) {
  const auto [entry, is_new] = members_.try_emplace(device);
  Member& member = entry->second;
  const MemberState before = member.state;
  member.incarnation = incarnation;
  if (!is_new && before == state) return;
  const bool was_live = !is_new && !gone(before);
  member.state = state;
  member.since_ms = now_ms;
  member.faded = false;
  if (was_live == gone(state)) set_live(device, !gone(state));
  if (state == MemberState::kSuspect) member.suspicion_ends_ms = now_ms + suspicion_ms();
  if (state == MemberState::kAlive) {
    troubled_.erase(device);
  } else {
    troubled_.emplace(device, &member);
    next_burial_ms_ = std::min(next_burial_ms_, next_turn_ms(member));
  }
  if (!(is_new && gone(state))) events_.push_back({device, state});
}

void Membership::apply(TimeMs now_ms, const MemberUpdate& update) {
  const auto state = static_cast<MemberState>(update.state);
  if (update.state > static_cast<uint8_t>(MemberState::kLeft) || update.device.empty()) return;
  if (update.device == self_) {
    if (state != MemberState::kAlive && update.incarnation >= incarnation_)
      refute(update.incarnation);
    return;
  }
  const auto found = members_.find(update.device);
  if (found == members_.end()) {
    if (members_.size() >= kMaxMembers) return;
  } else {
    const Member& member = found->second;
    const bool newer = update.incarnation > member.incarnation ||
                       (update.incarnation == member.incarnation && state > member.state);
    if (!newer) return;
  }
  set_state(now_ms, update.device, update.incarnation, state);
  rumours_.add(update);
}

void Membership::refute(uint64_t claimed_incarnation) {
  if (claimed_incarnation - incarnation_ > kMaxIncarnationStep) return;
  incarnation_ = claimed_incarnation + 1;
  rumours_.add({self_, incarnation_, static_cast<uint8_t>(MemberState::kAlive)});
}

bool Membership::suspect(TimeMs now_ms, const DeviceId& device, TimeMs suspicion) {
  const auto found = members_.find(device);
  if (found == members_.end() || gone(found->second.state)) return false;
  Member& member = found->second;
  const bool news = member.state == MemberState::kAlive;
  if (news) {
    set_state(now_ms, device, member.incarnation, MemberState::kSuspect);
    rumours_.add({device, member.incarnation, static_cast<uint8_t>(MemberState::kSuspect)});
  }
  member.suspicion_ends_ms = std::min(member.suspicion_ends_ms, now_ms + suspicion);
  next_burial_ms_ = std::min(next_burial_ms_, member.suspicion_ends_ms);
  return news;
}

void Membership::learn(TimeMs now_ms, const DeviceId& device, uint64_t incarnation) {
  apply(now_ms, {device, incarnation, static_cast<uint8_t>(MemberState::kAlive)});
}

bool Membership::is_gone(const DeviceId& device, uint64_t incarnation) const {
  const auto found = members_.find(device);
  return found != members_.end() && gone(found->second.state) &&
         incarnation <= found->second.incarnation;
}

void Membership::remind(const DeviceId& device) {
  const auto found = members_.find(device);
  if (found == members_.end()) return;
  rumours_.add({device, found->second.incarnation, static_cast<uint8_t>(found->second.state)});
}

void Membership::link_up(TimeMs now_ms, const DeviceId& device, std::vector<Envelope>& out) {
  if (device == self_) return;
  linked_.insert(device);
  if (members_.find(device) == members_.end()) {
    if (members_.size() >= kMaxMembers) return;
    set_state(now_ms, device, 0, MemberState::kAlive);
  }
  // The newcomer learns of everyone at once, and answers with an incarnation that overrides any tombstone.
  Message message = ping(MessageType::kPing, next_sequence_++);
  message.updates.push_back({self_, incarnation_, static_cast<uint8_t>(MemberState::kAlive)});
  for (const auto& [id, member] : members_) {
    message.updates.push_back({id, member.incarnation, static_cast<uint8_t>(member.state)});
  }
  out.push_back({device, std::move(message)});
}

void Membership::link_lost(TimeMs now_ms, const DeviceId& device) {
  linked_.erase(device);
  suspect(now_ms, device, few() ? options_.lost_link_suspicion_ms : suspicion_ms());
}

void Membership::leave(TimeMs, std::vector<Envelope>& out) {
  for (const DeviceId& peer : peers()) {
    Message message = ping(MessageType::kRumours, 0);
    message.updates.push_back({self_, incarnation_, static_cast<uint8_t>(MemberState::kLeft)});
    out.push_back({peer, std::move(message)});
  }
}

void Membership::send_ping(TimeMs now_ms, const DeviceId& target, std::vector<Envelope>& out) {
  const uint64_t sequence = next_sequence_++;
  probes_[sequence] = {target, now_ms, 0};
  Message message = ping(MessageType::kPing, sequence);
  if (few()) message.updates = cargo();
  const auto found = members_.find(target);
  if (found != members_.end() && found->second.state != MemberState::kAlive) {
    // A suspect hears of the suspicion from everyone who pings it, however often the rumour was sent already.
    message.updates.push_back(
        {target, found->second.incarnation, static_cast<uint8_t>(found->second.state)});
  }
  out.push_back({target, std::move(message)});
}

void Membership::start_probes(TimeMs now_ms, std::vector<Envelope>& out) {
  if (few()) {
    for (const DeviceId& device : peers()) send_ping(now_ms, device, out);
    return;
  }
  std::erase_if(round_,
                [this](const DeviceId& id) { return !is_live(id) || !linked_.contains(id); });
  if (round_.empty()) {
    round_ = peers();
    if (round_.empty()) return;
    for (size_t i = round_.size(); i > 1; --i) std::swap(round_[i - 1], round_[random_.below(i)]);
  }
  const DeviceId target = std::move(round_.back());
  round_.pop_back();
  send_ping(now_ms, target, out);
}

// Of many, hardly anybody else has a link with the silent one: it is asked again.
void Membership::remind_of(Probe& probe, uint64_t sequence, std::vector<Envelope>& out) {
  ++probe.reminders;
  if (!few()) {
    out.push_back({probe.target, ping(MessageType::kPing, sequence)});
  } else if (probe.reminders == 1) {
    ask_others(probe, sequence, out);
  }
}

void Membership::ask_others(const Probe& probe, uint64_t sequence, std::vector<Envelope>& out) {
  std::vector<DeviceId> others = peers();
  std::erase(others, probe.target);
  for (size_t i = 0; i < kHelpers && !others.empty(); ++i) {
    const size_t pick = random_.below(others.size());
    Message message = ping(MessageType::kPingRequest, sequence);
    message.target = probe.target;
    out.push_back({others[pick], std::move(message)});
    others.erase(others.begin() + static_cast<ptrdiff_t>(pick));
  }
}

void Membership::flood_claims(TimeMs now_ms, std::vector<Envelope>& out) {
  if (few() || rumours_.empty() || now_ms < next_claims_ms_) return;
  const std::vector<DeviceId> neighbours = peers();
  if (neighbours.empty()) return;
  next_claims_ms_ = now_ms + options_.gossip_interval_ms;
  Message message = ping(MessageType::kRumours, 0);
  message.updates = rumours_.take(options_.flood_updates, 1);
  for (const DeviceId& neighbour : neighbours) out.push_back({neighbour, message});
}

void Membership::check_probes(TimeMs now_ms, std::vector<Envelope>& out) {
  std::vector<DeviceId> accused;
  for (auto probe = probes_.begin(); probe != probes_.end();) {
    const TimeMs waited = now_ms - probe->second.sent_ms;
    if (waited >= interval_ms()) {
      if (suspect(now_ms, probe->second.target, suspicion_ms()))
        accused.push_back(probe->second.target);
      probe = probes_.erase(probe);
      continue;
    }
    if (waited >= timeout_ms() * (probe->second.reminders + 1))
      remind_of(probe->second, probe->first, out);
    ++probe;
  }
  std::erase_if(relays_,
                [&](const auto& entry) { return now_ms - entry.second.sent_ms > interval_ms(); });
}

TimeMs Membership::next_turn_ms(const Member& troubled) const {
  if (!gone(troubled.state)) return troubled.suspicion_ends_ms;
  return troubled.since_ms + (troubled.faded ? options_.tombstone_ms : options_.dead_shown_ms);
}

void Membership::bury(TimeMs now_ms) {
  if (now_ms < next_burial_ms_) return;
  std::vector<DeviceId> ended;
  next_burial_ms_ = std::numeric_limits<TimeMs>::max();
  for (const auto& [id, troubled] : troubled_) {
    Member& member = *troubled;
    if (now_ms < next_turn_ms(member)) {
      // its time has not come
    } else if (!gone(member.state)) {
      set_state(now_ms, id, member.incarnation, MemberState::kDead);
      rumours_.add({id, member.incarnation, static_cast<uint8_t>(MemberState::kDead)});
    } else if (!member.faded) {
      member.faded = true;
      faded_.push_back(id);
    } else {
      ended.push_back(id);
    }
    next_burial_ms_ = std::min(next_burial_ms_, next_turn_ms(member));
  }
  for (const DeviceId& id : ended) {
    troubled_.erase(id);
    members_.erase(id);
  }
}

void Membership::tick(TimeMs now_ms, std::vector<Envelope>& out) {
  // A device that was not scheduled for a while cannot tell who else was slow: it starts over instead of accusing.
  const bool was_asleep = last_tick_ms_ >= 0 && now_ms - last_tick_ms_ > interval_ms();
  last_tick_ms_ = now_ms;
  if (was_asleep) {
    probes_.clear();
    for (const auto& [id, member] : troubled_) member->suspicion_ends_ms = now_ms + suspicion_ms();
  }
  check_probes(now_ms, out);
  bury(now_ms);
  if (now_ms >= next_probe_ms_) {
    next_probe_ms_ = now_ms + interval_ms();
    start_probes(now_ms, out);
  }
  flood_claims(now_ms, out);
}

void Membership::receive(TimeMs now_ms, const DeviceId& from, const Message& message,
                         std::vector<Envelope>& out) {
  for (const MemberUpdate& update : message.updates) apply(now_ms, update);
  if (!is_live(from) || members_.find(from) == members_.end()) {
    // Heard from one who is counted dead, or unknown: greet it, so that it learns of the claim and refutes.
    if (message.type == static_cast<uint8_t>(MessageType::kPing)) link_up(now_ms, from, out);
  }
  switch (static_cast<MessageType>(message.type)) {
    case MessageType::kPing: {
      Message ack = ping(MessageType::kAck, message.sequence);
      if (few()) ack.updates = cargo();
      ack.updates.push_back({self_, incarnation_, static_cast<uint8_t>(MemberState::kAlive)});
      out.push_back({from, std::move(ack)});
      break;
    }
    case MessageType::kPingRequest: {
      if (relays_.size() >= kMaxRelays || message.target == self_) break;
      const uint64_t sequence = next_sequence_++;
      relays_[sequence] = {from, message.sequence, now_ms};
      out.push_back({message.target, ping(MessageType::kPing, sequence)});
      break;
    }
    case MessageType::kAck: {
      if (const auto relay = relays_.find(message.sequence); relay != relays_.end()) {
        out.push_back({relay->second.asker, ping(MessageType::kAck, relay->second.sequence)});
        relays_.erase(relay);
        break;
      }
      probes_.erase(message.sequence);
      break;
    }
    default: break;  // documents: not ours
  }
}

}  // namespace cohort::cluster
