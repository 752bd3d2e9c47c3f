#include "node/cluster_shell.h"

#include <algorithm>
#include <chrono>
#include <random>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"

namespace cohort::node {
namespace {

using cluster::MemberState;

cluster::TimeMs now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

uint64_t random_seed() {
  std::random_device random;
  return (static_cast<uint64_t>(random()) << 32) | random();
}

std::string_view state_name(MemberState state) {
  switch (state) {
    case MemberState::kAlive: return "alive";
    case MemberState::kSuspect: return "suspect";
    case MemberState::kDead: return "dead";
    case MemberState::kLeft: return "left";
  }
  return "dead";
}

cluster::CoreOptions core_options(bool alone) {
  cluster::CoreOptions options;
  if (alone) options.election_delay_ms = 0;
  return options;
}

template <class T>
T parse_body(const cluster::Document& document) {
  auto value = read_json<T>(document.body);
  if (value) return std::move(*value);
  log::warn("document {} of {} makes no sense: {}", document.key, document.version.writer,
            value.error().message);
  return T{};
}

}  // namespace

ClusterShell::ClusterShell(cluster::Identity self, bool alone, Outward outward)
    : self_(std::move(self)),
      outward_(std::move(outward)),
      core_(self_, core_options(alone), random_seed()) {}

void ClusterShell::receive(const std::string& device, std::string message) {
  if (input_.received.size() >= kMaxReceived) return;
  auto parsed = read_json<cluster::Message>(message);
  if (!parsed)
    return log::warn("a message of {} makes no sense: {}", device, parsed.error().message);
  input_.received.emplace_back(device, std::move(*parsed));
}

void ClusterShell::step() {
  if (!left_) absorb(core_.step(now_ms(), std::exchange(input_, {})));
}

void ClusterShell::leave() {
  if (left_) return;
  input_.leave = true;
  step();
  left_ = true;
}

void ClusterShell::publish(const cluster::DeviceDocument& self) {
  input_.device_body = dump_json(to_json(self));
  step();
}

void ClusterShell::publish(const cluster::PlanDocument& plan) {
  if (!leads()) return;
  input_.plan_body = dump_json(to_json(plan));
  step();
}

void ClusterShell::absorb(cluster::Output output) {
  for (const cluster::Envelope& envelope : output.send) {
    outward_.send(envelope.to, dump_json(to_json(envelope.message)));
  }
  for (const cluster::MemberEvent& event : output.members) {
    record("device", event.device, std::string(state_name(event.state)));
  }
  for (const std::string& key : output.changed) record("document", key, "changed");
  if (output.leader_changed) record("leader", core_.leader().value_or(""), "leads");
  if (output.superseded_plan) {
    superseded_ =
        parse_body<cluster::PlanDocument>({.key = "plan", .body = *output.superseded_plan});
  }
  const cluster::Document* plan = core_.documents().find(cluster::kPlanKey);
  const cluster::Document* own = core_.documents().find(cluster::device_key(self_.id));
  const auto known = parsed_.find(self_.id);
  const bool own_is_new =
      own != nullptr && (known == parsed_.end() || known->second.first != own->version);
  const bool plan_is_new = plan != nullptr && plan->version != plan_version_;
  const bool told = std::find(output.changed.begin(), output.changed.end(), cluster::kPlanKey) !=
                    output.changed.end();
  if (plan_is_new && !told)
    record("document", std::string(cluster::kPlanKey), "changed");  // by ourselves
  if (output.members.empty() && output.changed.empty() && !output.leader_changed && !own_is_new &&
      !plan_is_new)
    return;
  refresh();
  outward_.changed();
}

// Parses what is new, and forgets what is gone.
void ClusterShell::refresh() {
  const cluster::Document* plan = core_.documents().find(cluster::kPlanKey);
  if (plan != nullptr && plan->version != plan_version_) {
    const auto before = std::exchange(plan_, parse_body<cluster::PlanDocument>(*plan));
    plan_version_ = plan->version;
    if (before.involves(self_.id) || plan_.involves(self_.id)) concerning_plan_ = plan_version_;
  }
  std::erase_if(parsed_, [this](const auto& entry) {
    return core_.documents().find(cluster::device_key(entry.first)) == nullptr;
  });
  devices_.clear();
  for (const auto& [key, document] : core_.documents().all()) {
    if (key == cluster::kPlanKey) continue;
    auto& [version, parsed] = parsed_[document.version.writer];
    if (version != document.version) {
      version = document.version;
      parsed = parse_body<cluster::DeviceDocument>(document);
    }
    const bool has_come = parsed.id == document.version.writer;  // the first one of all is empty
    if (has_come && core_.membership().is_live(parsed.id)) devices_.emplace(parsed.id, parsed);
  }
}

std::vector<std::pair<cluster::DeviceDocument, std::string>> ClusterShell::devices_and_states()
    const {
  std::vector<std::pair<cluster::DeviceDocument, std::string>> all;
  for (const auto& [id, entry] : parsed_) {
    if (entry.second.id != id) continue;
    const auto& members = core_.membership().members();
    const auto member = members.find(id);
    if (id != self_.id && member == members.end()) continue;
    all.emplace_back(entry.second,
                     id == self_.id ? "alive" : std::string(state_name(member->second.state)));
  }
  return all;
}

void ClusterShell::record(std::string kind, std::string subject, std::string what) {
  if (events_.size() >= kMaxEvents)
    events_.erase(events_.begin(), events_.begin() + kMaxEvents / 4);
  events_.push_back(
      {next_event_++, unix_ms(), std::move(kind), std::move(subject), std::move(what)});
}

}  // namespace cohort::node
