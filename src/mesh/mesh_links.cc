#include <utility>

#include "base/log.h"
#include "mesh/mesh_state.h"

namespace cohort::mesh {
namespace {

using net::Clock;
using net::Task;
using std::chrono::milliseconds;

constexpr milliseconds kRedialPause{100};

}  // namespace

// The link's whole life.
Task<void> Mesh::State::keep_link(SecureSocket socket, Hello theirs, Role role, bool replaces) {
  const std::string id = theirs.id;
  make_way(id, replaces);
  while (links.contains(id) && !closing) co_await links_changed.wait_uncancelled();
  claims.erase(id);
  if (closing) co_return;
  Peer peer = {.id = id,
               .name = std::move(theirs.name),
               .boot_unix_ms = theirs.boot_unix_ms,
               .address = remote_address(socket.next_layer()),
               .mesh_port = theirs.mesh_port};
  ProbePath path = {.peer = id,
                    .address = peer.address,
                    .mesh_port = peer.mesh_port,
                    .kind = local_kind(socket.next_layer()),
                    .we_offer = hello.id < id,
                    .we_dial = role == Role::kDialer};
  Link link(std::move(socket), std::move(peer), role, link_events(id));
  boost::system::error_code unknown;
  const auto ip = asio::ip::make_address(link.peer().address, unknown);
  links[id] = {.link = &link, .preference = preference_of(ip), .needed_at = Clock::now()};
  links_changed.notify_all();
  refusals.forget(link.peer().address);
  log::info("linked with {} ({}) at {}", link.peer().name, id, link.peer().address);
  remember(link.peer());
  prober.link_up(std::move(path));
  events.link_up(link.peer());
  const std::string why = co_await link.run();
  const bool was_in_use = forget_link(id, link);
  links_changed.notify_all();
  if (closing || !was_in_use) co_return;
  if (why == kUnneeded) co_return events.link_closed(id);
  log::info("the link with {} ({}) is lost: {}", link.peer().name, id, why);
  events.link_lost(id, why);
  candidates.retry(id, Clock::now() + kRedialPause);
  wake.notify_all();
}

// A better path leaves the streams of the old one to it, until they end.
void Mesh::State::make_way(const std::string& peer, bool for_better_path) {
  const auto old = links.find(peer);
  if (old == links.end()) return;
  if (!for_better_path) return old->second.link->end("a newer link takes its place");
  retiring.push_back({old->second.link, Clock::now()});
  links.erase(old);
}

// False: another one is in use for this peer.
bool Mesh::State::forget_link(const std::string& peer, const Link& link) {
  std::erase_if(retiring, [&](const Retiring& old) { return old.link == &link; });
  const auto held = links.find(peer);
  if (held == links.end() || held->second.link != &link) return false;
  links.erase(held);
  prober.link_lost(peer);
  return true;
}

std::string Mesh::State::local_kind(tcp::socket& socket) {
  boost::system::error_code error;
  const auto local = socket.local_endpoint(error);
  const auto remote = socket.remote_endpoint(error);
  if (error) return "other";
  if (local.address() == remote.address()) return "loopback";
  const Interface* interface = interface_with(interfaces, local.address());
  if (interface == nullptr) {  // it has just come
    scan(Clock::now());
    interface = interface_with(interfaces, local.address());
  }
  return interface == nullptr ? "other" : interface_kind(*interface);
}

void Mesh::State::remember(const Peer& peer) {
  const auto kept = remembered.add({.id = peer.id, .host = peer.address, .port = peer.mesh_port});
  if (!kept) log::warn("peers are not remembered: {}", kept.error().message);
}

ProberEvents Mesh::State::prober_events() {
  return {.send =
              [this](const std::string& peer, std::string_view message) {
                const auto held = links.find(peer);
                return held != links.end() && held->second.link->send_probe(message);
              },
          .measured = [this](const std::string& peer) { events.measured(peer); },
          .busy = [this] { return events.busy(); }};
}

LinkEvents Mesh::State::link_events(const std::string& peer) {
  return {
      .message = [this, peer](std::string message) { events.message(peer, std::move(message)); },
      .stream = [this](std::unique_ptr<Stream> stream) { events.stream(std::move(stream)); },
      .probe = [this, peer](std::string message) { prober.on_message(peer, message); }};
}

}  // namespace cohort::mesh
