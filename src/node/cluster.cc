#include "node/cluster.h"

#include <algorithm>
#include <random>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "cluster/cost.h"
#include "cluster/neighbours.h"
#include "mesh/path_probe.h"

namespace cohort::node {
namespace {

constexpr const char* kCallStream = "call";
constexpr std::chrono::milliseconds kLeaderPoll{50};
constexpr size_t kMaxAddresses = 16;  // that others are told of
constexpr size_t kMaxMarks = 4096;
static_assert(mesh::kProbeMessageBytes == cluster::kMessageBytes);

struct PlaceCall {
  std::string method = "place";
  std::string model;
  cluster::ModelCost cost;
  cluster::InstanceWishes wishes;
  bool reuse = false;
  template <class Visitor>
  void fields(Visitor& visit) {
    visit("method", method);
    visit("model", model);
    visit("cost", cost);
    visit("wishes", wishes);
    visit("reuse", reuse);
  }
};

struct PlaceReply {
  std::string instance;
  template <class Visitor>
  void fields(Visitor& visit) {
    visit("instance", instance);
  }
};

struct StopCall {
  std::string method = "stop";
  std::vector<std::string> instances;
  template <class Visitor>
  void fields(Visitor& visit) {
    visit("method", method);
    visit("instances", instances);
  }
};

struct StopReply {
  cluster::Version plan;  // the first without them
  template <class Visitor>
  void fields(Visitor& visit) {
    visit("plan", plan);
  }
};

struct CallReply {
  std::optional<Json> result;
  std::optional<runner::Failure> failure;
  template <class Visitor>
  void fields(Visitor& visit) {
    visit("result", result);
    visit("failure", failure);
  }
};

std::string new_instance_id() {
  std::random_device random;
  return fmt::format("{:08x}", random());
}

int64_t unix_ms_of(net::TimePoint when) {
  const auto age = std::chrono::duration_cast<std::chrono::milliseconds>(net::Clock::now() - when);
  return unix_ms() - age.count();
}

}  // namespace

Result<std::unique_ptr<Cluster>> Cluster::create(net::Executor executor, ClusterOptions options,
                                                 ClusterEvents events) {
  std::unique_ptr<Cluster> cluster(new Cluster(executor, std::move(events)));
  const bool alone = !options.mesh;
  std::string id = alone ? options.id : options.mesh->identity.id();
  cluster->self_.id = id;
  cluster->self_.name = options.name;
  if (!alone) {
    if (Result<HostMark> mark = HostMark::set()) cluster->host_mark_ = std::move(*mark);
    if (cluster->host_mark_) cluster->self_.host_mark = cluster->host_mark_->name();
    COHORT_TRY(cluster->mesh_,
               mesh::Mesh::create(executor, std::move(*options.mesh), cluster->mesh_events()));
  }
  ClusterShell::Outward outward;
  outward.send = [raw = cluster.get()](const std::string& device, std::string message) {
    if (raw->mesh_) raw->mesh_->send(device, std::move(message));
  };
  outward.changed = [raw = cluster.get()] {
    raw->lead();
    if (raw->shell_->was_superseded() || raw->has_new_mark()) raw->dirty_ = true;
    if (raw->self_.heard_plan < raw->shell_->concerning_plan()) raw->dirty_ = true;
    raw->introduce_needed();
    raw->events_.changed();
  };
  cluster->shell_ = std::make_unique<ClusterShell>(
      cluster::Identity{std::move(id), options.boot_unix_ms}, alone, std::move(outward));
  cluster->tasks_.spawn(cluster->tick());
  return cluster;
}

Cluster::~Cluster() = default;

mesh::MeshEvents Cluster::mesh_events() {
  mesh::MeshEvents events;
  events.link_up = [this](const mesh::Peer& peer) {
    log::info("device {} ({}) is here, over {}", peer.name, peer.id.substr(0, 8), peer.address);
    shell_->link_up(peer.id);
    links_changed();
  };
  events.link_lost = [this](const std::string& peer, const std::string& why) {
    const auto known = shell_->devices().find(peer);
    log::info("device {} is gone: {}", known != shell_->devices().end() ? known->second.name : peer,
              why);
    shell_->link_lost(peer);
    links_changed();
  };
  events.link_closed = [this](const std::string& peer) {
    shell_->link_closed(peer);
    dirty_ = true;
  };
  events.message = [this](const std::string& peer, std::string message) {
    shell_->receive(peer, std::move(message));
    shell_->step();
  };
  events.stream = [this](std::unique_ptr<mesh::Stream> stream) { on_stream(std::move(stream)); };
  events.measured = [this](const std::string&) { dirty_ = true; };
  events.busy = [this] { return events_.busy(); };
  events.dispensable = [this](const std::set<std::string>& heard) { return dispensable(heard); };
  return events;
}

void Cluster::on_stream(std::unique_ptr<mesh::Stream> stream) {
  if (stream->purpose() == kCallStream) return tasks_.spawn(serve_call(std::move(stream)));
  events_.stream(std::move(stream));
}

net::Task<void> Cluster::tick() {
  for (;;) {
    const net::TimePoint now = net::Clock::now();
    if (now >= next_facts_ || (dirty_ && now >= next_news_)) {
      publish();
    } else {
      shell_->step();
    }
    const net::TimePoint next = net::next_beat(net::Clock::now(), ClusterShell::kTick);
    if (co_await net::sleep_until(next) == net::Wake::kCancelled) co_return;
  }
}

// Told at once while there are few; in a crowd, where links come and go, with the next news.
void Cluster::links_changed() {
  if (dispensable_.empty()) return publish();
  dirty_ = true;
  shell_->step();
}

void Cluster::publish() {
  dirty_ = false;
  // Where there are many devices each hears of all others less often, so that it hears as much.
  const auto crowds =
      static_cast<int64_t>(1 + (shell_->live().size() - 1) / cluster::kFullMeshUpTo);
  const std::chrono::seconds interval = events_.busy() ? kBusyInterval : kFactsInterval;
  next_facts_ = net::Clock::now() + interval * crowds;
  if (!dispensable_.empty()) next_news_ = net::Clock::now() + kBusyInterval * crowds;
  events_.describe(self_);
  self_.clock_unix_ms = unix_ms();
  self_.heard_plan = shell_->plan_version();
  fill_links(self_);
  introduce_needed();
  if (const auto orphans = shell_->take_superseded()) self_.orphans = dump_json(to_json(*orphans));
  if (shell_->leads()) self_.orphans.clear();
  shell_->publish(self_);
}

void Cluster::fill_links(cluster::DeviceDocument& self) const {
  self.links.clear();
  if (!mesh_) return;
  self.mesh_port = mesh_->port();
  self.addresses.clear();
  for (mesh::OwnAddress& own : mesh_->addresses()) {
    if (self.addresses.size() == kMaxAddresses) break;
    self.addresses.push_back(
        {std::move(own.interface), std::move(own.kind), std::move(own.address)});
  }
  const std::vector<mesh::LinkStatus> measured = mesh_->links();
  for (const mesh::Peer& peer : mesh_->peers()) {
    cluster::LinkDocument document{.peer = peer.id, .address = peer.address};
    const auto link = std::find_if(measured.begin(), measured.end(),
                                   [&](const auto& status) { return status.peer == peer.id; });
    if (link != measured.end()) {
      document.kind = link->kind;
      document.rtt_us_p50 = link->round_trip_p50_s * 1e6;
      document.rtt_us_p99 = link->round_trip_p99_s * 1e6;
      document.message_us = link->message_s * 1e6;
      document.bandwidth_mbit_per_s = link->bytes_per_s * 8 / 1e6;
      if (link->bytes_per_s > 0) document.measured_unix_ms = unix_ms_of(link->measured_at);
    }
    document.ways = ways_to(peer.id);
    events_.describe_link(document);
    self.links.push_back(std::move(document));
  }
}

std::vector<cluster::WayDocument> Cluster::ways_to(const std::string& peer) const {
  std::vector<cluster::WayDocument> ways;
  const auto device = shell_->devices().find(peer);
  if (device == shell_->devices().end()) return ways;
  if (shares_host(device->second.host_mark)) {
    const cluster::StepSpeed& speed = self_.step;
    ways.push_back({.transport = "shm",
                    .rtt_us_p50 = speed.shm_round_trip_us,
                    .rtt_us_p99 = speed.shm_round_trip_us_p99,
                    .bandwidth_mbit_per_s = speed.shm_gb_per_s * 8e3});
  }
  return ways;
}

bool Cluster::shares_host(const std::string& mark) const {
  if (same_host_.size() > kMaxMarks) same_host_.clear();
  const auto [entry, is_new] = same_host_.try_emplace(mark);
  if (is_new) entry->second = is_on_this_host(mark);
  return entry->second;
}

// Of a peer, that our document does not take into account yet.
bool Cluster::has_new_mark() const {
  const auto is_new = [this](const auto& device) {
    const std::string& mark = device.second.host_mark;
    return device.first != id() && !mark.empty() && same_host_.find(mark) == same_host_.end() &&
           mesh_->find(device.first) != nullptr;
  };
  return mesh_ && std::any_of(devices().begin(), devices().end(), is_new);
}

// --- leading

void Cluster::lead() {
  if (leading_ || !shell_->leads()) return;
  leading_ = true;  // what is published below comes back here
  for (const auto& [id, device] : shell_->devices()) {
    if (device.orphans.empty() || std::exchange(adopted_[id], device.orphans) == device.orphans)
      continue;
    const auto orphans = read_json<cluster::PlanDocument>(device.orphans);
    const auto adopted = orphans ? cluster::adopt(plan(), *orphans) : std::nullopt;
    if (adopted) shell_->publish(*adopted);
  }
  if (const auto healed = cluster::heal(plan(), devices())) {
    for (const cluster::InstancePlan& instance : healed->instances) {
      const cluster::InstancePlan* before = plan().find(instance.id);
      if (before == nullptr || before->epoch == instance.epoch) continue;
      log::info("instance {} ({}): {}", instance.id, instance.model,
                instance.failed ? instance.reason : "placed anew: " + instance.reason);
    }
    shell_->publish(*healed);
  }
  leading_ = false;
}

Result<std::string> Cluster::place_here(const std::string& model, const cluster::ModelCost& cost,
                                        const cluster::InstanceWishes& wishes, bool reuse) {
  for (const cluster::InstancePlan& there : plan().instances) {
    if (reuse && there.model == model && !there.failed) return there.id;
  }
  if (plan().instances.size() >= kMaxInstances) {
    return fail(Code::kUnavailable, "{} instances run already; stop one", plan().instances.size());
  }
  publish();  // with the memory that is free now
  const cluster::TopologyWish wish{.transport = wishes.transport, .model = &cost};
  COHORT_TRY(cluster::InstancePlan instance,
             cluster::place_instance(new_instance_id(), model, cost, wishes,
                                     cluster::topology_of(devices(), plan(), wish)));
  const std::string id = instance.id;
  log::info("instance {}: placing {} ({}): {}", id, model, instance.sharding, instance.reason);
  cluster::PlanDocument next = plan();
  next.instances.push_back(std::move(instance));
  shell_->publish(next);
  return id;
}

void Cluster::stop_here(const std::vector<std::string>& instances) {
  cluster::PlanDocument next = plan();
  const auto removed = std::erase_if(next.instances, [&](const cluster::InstancePlan& instance) {
    return std::find(instances.begin(), instances.end(), instance.id) != instances.end();
  });
  if (removed > 0) shell_->publish(next);
}

Result<std::vector<cluster::Placement>> Cluster::placements(const cluster::ModelCost& cost,
                                                            const cluster::InstanceWishes& wishes,
                                                            cluster::Topology& topology) const {
  topology =
      cluster::topology_of(devices(), plan(), {.transport = wishes.transport, .model = &cost});
  return cluster::placements_of(cost, wishes, topology);
}

std::string Cluster::rdma_worth(const cluster::ModelCost& cost,
                                const cluster::InstanceWishes& wishes,
                                const std::vector<cluster::Placement>& placements) const {
  if (placements.empty()) return "";
  return cluster::rdma_worth(devices(), plan(), {.transport = wishes.transport, .model = &cost},
                             wishes, placements.front());
}

// --- calls

net::Task<Result<std::string>> Cluster::place(std::string model, cluster::ModelCost cost,
                                              cluster::InstanceWishes wishes, bool reuse) {
  PlaceCall call;
  call.reuse = reuse;
  call.model = std::move(model);
  call.cost = std::move(cost);
  call.wishes = std::move(wishes);
  Json json = to_json(call);
  COHORT_CO_TRY(const Json result, co_await call_leader(std::move(json)));
  COHORT_CO_TRY(PlaceReply reply, from_json<PlaceReply>(result));
  co_return std::move(reply.instance);
}

net::Task<Result<cluster::Version>> Cluster::stop(std::vector<std::string> instances) {
  StopCall call;
  call.instances = std::move(instances);
  Json json = to_json(call);
  COHORT_CO_TRY(const Json result, co_await call_leader(std::move(json)));
  COHORT_CO_TRY(StopReply reply, from_json<StopReply>(result));
  co_return std::move(reply.plan);
}

Result<Json> Cluster::answer_call(const Json& call) {
  COHORT_TRY(const StopCall known, from_json<StopCall>(call));
  const std::string& method = known.method;
  if (!shell_->leads()) return fail(Code::kUnavailable, "this device does not lead (any more)");
  if (method == "place") {
    COHORT_TRY(const PlaceCall place, from_json<PlaceCall>(call));
    COHORT_TRY(std::string id, place_here(place.model, place.cost, place.wishes, place.reuse));
    return to_json(PlaceReply{std::move(id)});
  }
  if (method == "stop") {
    stop_here(known.instances);
    return to_json(StopReply{shell_->plan_version()});
  }
  return fail(Code::kUnsupported, "the leader knows no call '{}'; it may be an older version",
              method);
}

net::Task<void> Cluster::serve_call(std::unique_ptr<mesh::Stream> stream) {
  const auto deadline = net::Clock::now() + kCallTimeout;
  const auto received = co_await stream->read(deadline);
  if (!received || !*received) co_return;
  const auto call = parse_json(**received);
  const auto answer = call ? answer_call(*call) : call;
  CallReply reply;
  if (answer) {
    reply.result = *answer;
  } else {
    reply.failure =
        runner::Failure{std::string(code_name(answer.error().code)), answer.error().message};
  }
  std::string text = dump_json(to_json(reply));
  co_await stream->write(std::move(text), deadline);
  stream->close();
}

net::Task<Result<Json>> Cluster::call_leader(Json call) {
  const auto deadline = net::Clock::now() + kCallTimeout;
  while (!shell_->leader() || (!shell_->leads() && !reaches(*shell_->leader()))) {
    if (net::Clock::now() >= deadline)
      co_return fail(Code::kUnavailable, "no device leads the cluster");
    if (co_await net::sleep_until(net::Clock::now() + kLeaderPoll) == net::Wake::kCancelled)
      co_return fail(Code::kCancelled, "cancelled");
  }
  if (shell_->leads()) co_return answer_call(call);
  std::string leader = *shell_->leader();
  COHORT_CO_TRY(const auto stream,
                co_await mesh_->open_stream(std::move(leader), kCallStream, deadline));
  std::string text = dump_json(call);
  COHORT_CO_TRY_VOID(co_await stream->write(std::move(text), deadline));
  auto received = co_await stream->read(deadline);
  if (!received) co_return tl::unexpected(received.error());
  if (!*received) co_return fail(Code::kUnavailable, "the leader closed without an answer");
  COHORT_CO_TRY(const CallReply reply, read_json<CallReply>(**received));
  if (reply.failure)
    co_return tl::unexpected(Error{code_from_name(reply.failure->code), reply.failure->message});
  co_return reply.result.value_or(Json::object());
}

net::Task<void> Cluster::close() {
  co_await tasks_.close();
  shell_->leave();
  if (mesh_) co_await mesh_->close();
}

}  // namespace cohort::node
