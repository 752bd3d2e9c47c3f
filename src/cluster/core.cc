#include "cluster/core.h"

namespace cohort::cluster {
namespace {

constexpr TimeMs kElectionRetryMs = 200;

}  // namespace

Core::Core(Identity self, CoreOptions options, uint64_t random_seed)
    : self_(std::move(self)),
      options_(options),
      membership_(self_.id, self_.boot_unix_ms, options.membership, Random(random_seed)),
      gossip_(self_.id, options.gossip) {
  publish_device("{}");
}

void Core::publish_device(std::string body) {
  gossip_.publish(
      {device_key(self_.id), {self_.boot_unix_ms, self_.id, ++device_counter_}, std::move(body)});
}

void Core::publish_plan(std::string body, uint64_t term) {
  const Document* plan = documents().find(kPlanKey);
  const bool same_term =
      plan != nullptr && plan->version.term == term && plan->version.writer == self_.id;
  const uint64_t counter = same_term ? plan->version.counter + 1 : 1;
  gossip_.publish({std::string(kPlanKey), {term, self_.id, counter}, std::move(body)});
}

std::optional<DeviceId> Core::leader() const {
  const Document* plan = documents().find(kPlanKey);
  if (plan == nullptr || !membership_.is_live(plan->version.writer)) return std::nullopt;
  return plan->version.writer;
}

uint64_t Core::term() const {
  const Document* plan = documents().find(kPlanKey);
  return plan == nullptr ? 0 : plan->version.term;
}

DeviceId Core::oldest_live() const {
  // Ties go to the lowest id, which comes first.
  const DeviceId* oldest = nullptr;
  uint64_t oldest_boot = 0;
  for (const DeviceId& device : membership_.live()) {
    const Document* document = documents().find(device_key(device));
    // One whose document has not come yet counts as the youngest.
    const uint64_t boot = document == nullptr ? ~0ull : document->version.term;
    if (oldest != nullptr && boot >= oldest_boot) continue;
    oldest = &device;
    oldest_boot = boot;
  }
  return *oldest;
}

void Core::elect(TimeMs now_ms) {
  if (leader()) {
    leaderless_since_ms_ = -1;
    return;
  }
  if (leaderless_since_ms_ < 0) leaderless_since_ms_ = now_ms;
  if (now_ms - leaderless_since_ms_ < options_.election_delay_ms) return;
  if (oldest_live() != self_.id) {
    leaderless_since_ms_ +=
        kElectionRetryMs;  // the oldest may not know yet, or be dying: look again soon
    return;
  }
  const Document* plan = documents().find(kPlanKey);
  publish_plan(plan == nullptr ? "{}" : plan->body, term() + 1);
  leaderless_since_ms_ = -1;
}

void Core::receive(TimeMs now_ms, const DeviceId& from, Message& message, Output& output) {
  membership_.receive(now_ms, from, message, output.send);
  std::erase_if(message.documents, [this](const Document& document) {
    const DeviceId& writer = document.version.writer;
    if (document.key == kPlanKey || !membership_.is_gone(writer, document.version.term))
      return false;
    membership_.remind(writer);
    return true;
  });
  const size_t first = output.changed.size();
  gossip_.receive(now_ms, from, message, membership_.live().size(), output.send, output.changed);
  for (size_t i = first; i < output.changed.size(); ++i) {
    if (output.changed[i] == kPlanKey) continue;
    const Version& version = documents().find(output.changed[i])->version;
    membership_.learn(now_ms, version.writer, version.term);
  }
}

Output Core::step(TimeMs now_ms, Input input) {
  Output output;
  const Document* plan = documents().find(kPlanKey);
  const std::optional<Document> led =
      plan != nullptr && plan->version.writer == self_.id ? std::optional(*plan) : std::nullopt;

  for (const DeviceId& device : input.links_up) {
    membership_.link_up(now_ms, device, output.send);
  }
  for (const DeviceId& device : input.links_closed) membership_.link_closed(device);
  for (const DeviceId& device : input.links_lost) membership_.link_lost(now_ms, device);
  for (auto& [from, message] : input.received) receive(now_ms, from, message, output);
  if (input.device_body) publish_device(std::move(*input.device_body));
  if (input.plan_body && is_leader()) publish_plan(std::move(*input.plan_body), term());
  if (input.leave) {
    membership_.leave(now_ms, output.send);
    return output;
  }

  membership_.tick(now_ms, output.send);
  // Documents of devices that are gone for good go too.
  for (const DeviceId& id : membership_.take_faded()) gossip_.forget(device_key(id));
  elect(now_ms);
  if (gossip_.has_news(now_ms)) gossip_.tick(now_ms, membership_.peers(), output.send);

  for (Envelope& envelope : output.send) {
    if (envelope.message.type == static_cast<uint8_t>(MessageType::kPing)) {
      envelope.message.hash = documents().hash();
    }
  }
  output.members = membership_.take_events();
  const Document* newest = documents().find(kPlanKey);
  if (led && newest->version.writer != self_.id) output.superseded_plan = led->body;
  const std::optional<DeviceId> now_leads = leader();
  output.leader_changed = now_leads != last_leader_;
  last_leader_ = now_leads;
  return output;
}

}  // namespace cohort::cluster
