#include "mesh/mesh.h"

#include <algorithm>
#include <utility>

#include "base/bytes.h"
#include "base/check.h"
#include "base/log.h"
#include "mesh/mesh_state.h"

namespace cohort::mesh {
namespace {

using net::Clock;
using net::Task;
using net::TimePoint;
using std::chrono::milliseconds;

constexpr milliseconds kTick{200};
constexpr milliseconds kScanInterval{2'000};  // of our interfaces
constexpr milliseconds kGoodbyeTimeout{500};
constexpr milliseconds kOwnDial{10};      // after a beacon: time for a better interface's to come
constexpr milliseconds kOthersDial{300};  // the smaller id dials; the other one helps out

}  // namespace

Result<void> Mesh::State::open() {
  for (const std::string& peer : options.peers) {
    COHORT_TRY(Candidate candidate, parse_peer(peer, kDefaultPort));
    candidates.add(std::move(candidate));
  }
  COHORT_TRY(listening, listen_near(executor, options.host, options.port));
  if (options.port != 0 && listening.port != options.port)
    log::warn("mesh port {} is taken; other devices reach this one on port {}", options.port,
              listening.port);
  if (!keys.has_secret)
    log::info(
        "no secret is set: any device on the local network may join namespace '{}'; "
        "`cohort secret new` makes one",
        options.cluster_namespace);
  hello = {.id = options.identity.id(),
           .public_key = to_hex(options.identity.public_key()),
           .name = short_name(options.name),
           .cluster_namespace = options.cluster_namespace,
           .boot_unix_ms = options.boot_unix_ms,
           .mesh_port = listening.port};
  for (const RememberedPeer& peer : remembered.all()) {
    candidates.add(
        {.host = peer.host, .port = peer.port, .source = Source::kRemembered, .peer = peer.id});
  }
  interfaces = list_interfaces();
  if (options.beacons) start_discovery();
  for (tcp::acceptor& acceptor : listening.acceptors) tasks.spawn(accept_loop(acceptor));
  tasks.spawn(tick_loop());
  return {};
}

void Mesh::State::start_discovery() {
  DiscoveryEvents from_network = {
      .heard = [this](const Beacon& beacon, const address& from,
                      bool is_new) { on_beacon(beacon, from, is_new); },
      .refused = [this](const address& from,
                        const Error& why) { report(without_mapping(from).to_string(), why); }};
  const Beacon ours = {
      .id = hello.id, .boot_unix_ms = hello.boot_unix_ms, .mesh_port = hello.mesh_port};
  discovery.emplace(executor, keys, Discovery::Options{.ours = ours, .port = options.beacon_port},
                    std::move(from_network));
  const auto started = discovery->start(interfaces);
  if (!started)
    log::warn("cannot look for devices on the local network ({}); name them with --peer",
              started.error().message);
}

void Mesh::State::on_beacon(const Beacon& beacon, const address& from, bool is_new) {
  if (closing) return;
  const auto held = links.find(beacon.id);
  const bool is_linked = held != links.end();
  if (is_linked && is_new && beacon.boot_unix_ms > held->second.link->peer().boot_unix_ms)
    held->second.link->end("it has started anew");
  const auto near_enough = check_reach(from.to_string());
  if (!near_enough) return report(from.to_string(), near_enough.error());
  const TimePoint now = Clock::now();
  const TimePoint when = now + (hello.id < beacon.id ? kOwnDial : kOthersDial);
  candidates.add({.host = from.to_string(),
                  .port = beacon.mesh_port,
                  .source = Source::kHeard,
                  .peer = beacon.id,
                  .preference = preference_of(from),
                  .next_try = when,
                  .forgotten_at = now + Candidates::kHeardFor});
  if (is_new) candidates.retry(beacon.id, when);
  if (is_new || !(is_linked || dispensable.contains(beacon.id))) wake.notify_all();
}

Task<void> Mesh::State::close() {
  closing = true;
  boost::system::error_code ignored;
  for (tcp::acceptor& acceptor : listening.acceptors) acceptor.close(ignored);
  if (discovery) co_await discovery->close();
  co_await prober.close();
  for (const Retiring& old : retiring) old.link->end("this device leaves");
  for (const auto& [id, held] : links) held.link->say_goodbye("it leaves");
  const TimePoint deadline = Clock::now() + kGoodbyeTimeout;
  while (!links.empty()) {
    if (co_await links_changed.wait_uncancelled(deadline) != net::Wake::kNotified) break;
  }
  for (const auto& [id, held] : links) held.link->end("this device leaves");
  for (Attempt* attempt : arrivals) attempt->socket.close(ignored);
  for (Attempt* attempt : dials) attempt->socket.close(ignored);
  co_await tasks.close();
}

Task<void> Mesh::State::tick_loop() {
  const auto needless = [this](const Candidate& candidate) { return is_needless(candidate); };
  for (;;) {
    const TimePoint now = Clock::now();
    tick(now);
    for (Candidate* candidate : candidates.take_due(now, needless)) tasks.spawn(dial(*candidate));
    const TimePoint next = std::min(net::next_beat(now, kTick), candidates.next_due(needless));
    if (co_await wake.wait(next) == net::Wake::kCancelled) co_return;
  }
}

void Mesh::State::tick(TimePoint now) {
  boost::system::error_code ignored;
  for (Attempt* attempt : arrivals) {
    if (attempt->deadline <= now) attempt->socket.close(ignored);
  }
  for (Attempt* attempt : dials) {
    if (attempt->deadline <= now) attempt->socket.close(ignored);
  }
  dispensable = events.dispensable(candidates.heard());
  end_unneeded(now);
  for (const auto& [id, held] : links) held.link->tick(now);
  for (const Retiring& old : retiring) old.link->tick(now);
  prober.tick(now);
  if (now >= next_scan) scan(now);
}

void Mesh::State::scan(TimePoint now) {
  next_scan = now + kScanInterval;
  std::vector<Interface> found = list_interfaces();
  if (found == interfaces) return;
  interfaces = std::move(found);
  if (discovery) discovery->interfaces_changed(interfaces);
}

Mesh::Mesh(std::unique_ptr<State> state) : state_(std::move(state)) {}
Mesh::~Mesh() = default;

Result<std::unique_ptr<Mesh>> Mesh::create(net::Executor executor, MeshOptions options,
                                           MeshEvents events) {
  COHORT_CHECK(events.link_up && events.link_lost && events.message && events.stream &&
               events.link_closed && events.measured && events.busy && events.dispensable);
  auto state = std::make_unique<State>(executor, std::move(options), std::move(events));
  COHORT_TRY_VOID(state->open());
  return std::unique_ptr<Mesh>(new Mesh(std::move(state)));
}

uint16_t Mesh::port() const { return state_->listening.port; }
const std::string& Mesh::id() const { return state_->options.identity.id(); }

std::vector<Peer> Mesh::peers() const {
  std::vector<Peer> peers;
  for (const auto& [id, held] : state_->links) peers.push_back(held.link->peer());
  return peers;
}

const Peer* Mesh::find(std::string_view peer) const {
  const auto held = state_->links.find(peer);
  return held == state_->links.end() ? nullptr : &held->second.link->peer();
}

std::vector<LinkStatus> Mesh::links() const { return state_->prober.results(); }

bool Mesh::send(const std::string& peer, std::string message) {
  const auto held = state_->links.find(peer);
  return held != state_->links.end() && held->second.link->send(std::move(message));
}

void Mesh::introduce(const std::string& peer, const std::vector<std::string>& hosts,
                     uint16_t port) {
  state_->introduce(peer, hosts, port);
}

Task<Result<std::unique_ptr<Stream>>> Mesh::open_stream(std::string peer, std::string purpose,
                                                        TimePoint deadline) {
  COHORT_CO_TRY(Link * link, co_await state_->need_link(std::move(peer), deadline));
  co_return link->open_stream(std::move(purpose));
}

std::string Mesh::address_of(std::string_view peer) const {
  if (const Peer* linked = find(peer)) return linked->address;
  const Candidate* candidate = state_->candidates.best_of(peer);
  return candidate == nullptr ? "" : candidate->host;
}

std::vector<OwnAddress> Mesh::addresses() const {
  std::vector<OwnAddress> addresses;
  for (const Interface& interface : state_->interfaces) {
    for (const InterfaceAddress& own : interface.addresses) {
      const bool is_local = own.ip.is_v6() && own.ip.to_v6().is_link_local();  // needs a scope
      if (!interface.loopback && !is_local)
        addresses.push_back({interface.name, interface_kind(interface), own.ip.to_string()});
    }
  }
  return addresses;
}

std::vector<Refusal> Mesh::refusals() const { return state_->refusals.all(); }

Task<void> Mesh::close() { co_await state_->close(); }

}  // namespace cohort::mesh
