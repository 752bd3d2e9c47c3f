#include <algorithm>
#include <utility>

#include "mesh/mesh_state.h"

namespace cohort::mesh {
namespace {

using net::Clock;
using net::Task;
using net::TimePoint;
using std::chrono::milliseconds;

constexpr milliseconds kRetirement{1'000};  // until both ends have gone over to the better path

constexpr int kPathsOfAKind = 2;  // IPv4 and IPv6

}  // namespace

// Of several paths to one peer the lowest is the best.
int Mesh::State::preference_of(const address& ip) const {
  static constexpr std::string_view kOrder[] = {"loopback", "thunderbolt", "ethernet", "wifi"};
  const Interface* interface = interface_towards(interfaces, ip);
  const std::string kind = interface == nullptr ? "" : interface_kind(*interface);
  const auto place = std::find(std::begin(kOrder), std::end(kOrder), kind) - std::begin(kOrder);
  return static_cast<int>(place) * kPathsOfAKind + (ip.is_v6() ? 1 : 0);
}

// By another kind of interface: two IP versions of one cable are equally good. One end decides.
bool Mesh::State::is_better(const Candidate& candidate, const Held& held) const {
  return candidate.source == Source::kHeard && hello.id < candidate.peer &&
         candidate.preference / kPathsOfAKind < held.preference / kPathsOfAKind;
}

bool Mesh::State::is_needless(const Candidate& candidate) const {
  const auto held = links.find(candidate.peer);
  if (held != links.end()) return !is_better(candidate, held->second);
  return dispensable.contains(candidate.peer) && !demands.contains(candidate.peer);
}

void Mesh::State::end_unneeded(TimePoint now) {
  std::erase_if(demands, [&](const auto& demand) { return demand.second <= now; });
  for (auto& [peer, held] : links) {
    if (!dispensable.contains(peer) || held.link->has_streams()) held.needed_at = now;
    const bool is_ours = held.link->role() == Role::kDialer;  // the other end may need it still
    if (is_ours && now - held.needed_at >= options.unneeded_for) held.link->say_goodbye(kUnneeded);
  }
  for (const Retiring& old : retiring) {
    if (!old.link->has_streams() && now - old.since >= kRetirement)
      old.link->say_goodbye("a better path is taken");
  }
}

Task<Result<Link*>> Mesh::State::need_link(std::string peer, TimePoint deadline) {
  bool is_first = true;
  for (;;) {
    const auto held = links.find(peer);
    if (held != links.end() && held->second.link->alive()) co_return held->second.link;
    if (closing || candidates.best_of(peer) == nullptr)
      co_return fail(Code::kUnavailable, "no link to device {}", peer);
    if (Clock::now() >= deadline)
      co_return fail(Code::kUnavailable, "device {} was not reached in time", peer);
    TimePoint& until = demands[peer];
    until = std::max(until, deadline);
    if (std::exchange(is_first, false)) candidates.retry(peer, Clock::now());
    wake.notify_all();
    if (co_await links_changed.wait(deadline) == net::Wake::kCancelled)
      co_return fail(Code::kCancelled, "cancelled");
  }
}

void Mesh::State::introduce(const std::string& peer, const std::vector<std::string>& hosts,
                            uint16_t port) {
  if (closing || port == 0) return;
  const TimePoint now = Clock::now();
  for (const std::string& host : hosts) {
    boost::system::error_code no_number;
    const auto ip = asio::ip::make_address(host, no_number);
    if (no_number || !check_reach(host)) continue;
    candidates.add({.host = host,
                    .port = port,
                    .source = Source::kHeard,
                    .peer = peer,
                    .preference = preference_of(ip),
                    .next_try = now,
                    .forgotten_at = now + Candidates::kHeardFor});
  }
}

}  // namespace cohort::mesh
