#include <algorithm>
#include <random>
#include <tuple>
#include <utility>

#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>

#include "base/clock.h"
#include "base/log.h"
#include "base/tcp_congestion.h"
#include "mesh/mesh_state.h"
#include "mesh/socket_options.h"

namespace cohort::mesh {
namespace {

using net::Clock;
using net::Task;
using std::chrono::milliseconds;

constexpr size_t kMaxArrivals = 128;  // connections not yet trusted
constexpr size_t kMaxArrivalsOfOneAddress = 32;
constexpr size_t kMaxDials = 32;
constexpr milliseconds kHandshakeTimeout{4'000};
constexpr milliseconds kDialTimeout{6'000};  // look-up, connection and handshake
constexpr milliseconds kLookupTimeout{4'000};
constexpr milliseconds kAcceptPause{100};  // when the system is out of file descriptors

Task<Result<std::string>> read_exactly(tcp::socket& socket, size_t size) {
  std::string bytes(size, '\0');
  const auto buffer = asio::buffer(bytes);
  const auto [error, got] = co_await asio::async_read(socket, buffer, net::kAsTuple);
  if (!error) co_return bytes;
  if (error == asio::error::operation_aborted) co_return fail(Code::kTimeout, "it says nothing");
  co_return fail(Code::kUnavailable, "it hung up before it said anything");
}

double chance() {
  static thread_local std::minstd_rand random{std::random_device{}()};
  return std::uniform_real_distribution<double>(0, 1)(random);
}

}  // namespace

std::string remote_address(tcp::socket& socket) {
  boost::system::error_code error;
  const auto endpoint = socket.remote_endpoint(error);
  return error ? "" : without_mapping(endpoint.address()).to_string();
}

// One line for each address and cause, whoever began.
void Mesh::State::report(const std::string& address, const Error& error) {
  const bool ordinary = error.code == Code::kResourceExhausted || error.code == Code::kCancelled ||
                        error.code == Code::kNotFound;
  if (!ordinary && !closing && refusals.add(address, error.message, unix_ms()))
    log::warn("no link with {}: {}", address, error.message);
}

Result<void> Mesh::State::check_reach(const std::string& address) const {
  boost::system::error_code error;
  const auto ip = asio::ip::make_address(address, error);
  if (keys.has_secret || (!error && interface_towards(interfaces, ip) != nullptr)) return {};
  return fail(
      Code::kUnauthorized,
      "it is beyond the local network, where a secret is needed; give both devices one with "
      "`cohort secret`");
}

Task<void> Mesh::State::accept_loop(tcp::acceptor& acceptor) {
  while (!closing) {
    auto [error, socket] = co_await acceptor.async_accept(net::kAsTuple);
    if (!error) {
      on_arrival(std::move(socket));
    } else if (error == asio::error::operation_aborted || !acceptor.is_open()) {
      co_return;
    } else if (co_await net::sleep_until(Clock::now() + kAcceptPause) == net::Wake::kCancelled) {
      co_return;
    }
  }
}

void Mesh::State::on_arrival(tcp::socket socket) {
  const std::string address = remote_address(socket);
  if (address.empty() || closing) return;
  const auto from_there =
      std::count_if(arrivals.begin(), arrivals.end(),
                    [&](const Attempt* other) { return other->address == address; });
  if (arrivals.size() >= kMaxArrivals ||
      static_cast<size_t>(from_there) >= kMaxArrivalsOfOneAddress)
    return report(address, {Code::kUnavailable, "it floods us with connections"});
  const auto near_enough = check_reach(address);
  if (!near_enough) return report(address, near_enough.error());
  tasks.spawn(receive(std::move(socket), address));
}

Task<void> Mesh::State::receive(tcp::socket plain, std::string address) {
  tune_link_socket(plain.native_handle());
  SecureSocket socket(std::move(plain), contexts.of(Role::kListener));
  Result<Hello> theirs = fail(Code::kInvalidArgument, "it is no cohort device");
  {
    Attempt attempt(arrivals, socket.next_layer(), Clock::now() + kHandshakeTimeout);
    attempt.address = address;
    const auto wish = co_await read_exactly(socket.next_layer(), kLinkPreamble.size());
    if (wish && *wish == kLinkPreamble) {
      theirs = co_await greet(socket, Role::kListener, false);
    } else if (wish && *wish == kProbePreamble) {
      const auto token = co_await read_exactly(socket.next_layer(), kProbeTokenBytes);
      if (token) prober.take(std::move(socket.next_layer()), *token);
      co_return;
    } else if (!wish) {
      theirs = tl::unexpected(wish.error());
    }
  }
  if (theirs) {
    const bool replaces = theirs->replaces;
    co_await keep_link(std::move(socket), std::move(*theirs), Role::kListener, replaces);
  } else {
    report(address, theirs.error());
  }
}

Task<Result<Hello>> Mesh::State::greet(SecureSocket& socket, Role role, bool replaces) {
  std::string claimed;
  Hello ours = hello;
  ours.replaces = replaces;
  HandshakeOptions handshake = {.role = role,
                                .identity = options.identity,
                                .hello = ours,
                                .admit = [this, &claimed, replaces](const Hello& theirs) {
                                  const auto admitted = admit(theirs, replaces);
                                  if (admitted) claimed = theirs.id;
                                  return admitted;
                                }};
  auto theirs = co_await shake_hands(socket, std::move(handshake));
  if (!theirs) claims.erase(claimed);
  co_return theirs;
}

Result<void> Mesh::State::admit(const Hello& theirs, bool replaces) {
  if (closing) return fail(Code::kCancelled, "this device leaves");
  const auto held = links.find(theirs.id);
  const bool linked = held != links.end() && held->second.link->alive() &&
                      held->second.link->peer().boot_unix_ms == theirs.boot_unix_ms;
  if ((linked && !replaces) || !claims.insert(theirs.id).second)
    return fail(Code::kResourceExhausted, "we are linked already");
  return {};
}

Task<void> Mesh::State::dial(Candidate& candidate) {
  SecureSocket socket(executor, contexts.of(Role::kDialer));
  Result<Hello> theirs = fail(Code::kUnavailable, "too much is under way");
  const std::string place = candidate.host;
  const bool replaces = links.contains(candidate.peer);
  if (dials.size() < kMaxDials) {
    const Attempt attempt(dials, socket.next_layer(), Clock::now() + kDialTimeout);
    theirs = co_await connect_and_greet(socket, candidate, replaces);
  }
  if (theirs) {
    candidates.succeeded(candidate, theirs->id);
    co_await keep_link(std::move(socket), std::move(*theirs), Role::kDialer, replaces);
    co_return;
  }
  candidate.is_us = theirs.error().code == Code::kNotFound;
  candidates.failed(candidate, Clock::now(), chance());
  const bool asked_for = candidate.source == Source::kConfigured;
  if (asked_for || theirs.error().code != Code::kUnavailable) report(place, theirs.error());
  wake.notify_all();
}

// The candidate stays where it is while it is being dialed.
Task<Result<Hello>> Mesh::State::connect_and_greet(SecureSocket& socket, const Candidate& candidate,
                                                   bool replaces) {
  tcp::socket& plain = socket.next_layer();
  COHORT_CO_TRY_VOID(co_await connect(plain, candidate.host, candidate.port));
  COHORT_CO_TRY_VOID(check_reach(remote_address(plain)));
  tune_link_socket(plain.native_handle());
  const auto preamble = asio::buffer(kLinkPreamble.data(), kLinkPreamble.size());
  const auto [error, size] = co_await asio::async_write(plain, preamble, net::kAsTuple);
  if (error) co_return fail(Code::kUnavailable, "{}", error.message());
  co_return co_await greet(socket, Role::kDialer, replaces);
}

Task<Result<void>> Mesh::State::connect(tcp::socket& socket, std::string host, uint16_t port) {
  boost::system::error_code no_number;
  const auto ip = asio::ip::make_address(host, no_number);
  std::vector<tcp::endpoint> places = {{ip, port}};
  if (no_number) {
    COHORT_CO_TRY(const auto found, co_await lookups.find(host, Clock::now() + kLookupTimeout));
    places.clear();
    for (const std::string& address : found)
      places.emplace_back(asio::ip::make_address(address, no_number), port);
  }
  boost::system::error_code failed = asio::error::host_not_found;
  for (const tcp::endpoint& place : places) {
    boost::system::error_code ignored;
    socket.close(ignored);
    socket.open(place.protocol(), failed);
    if (failed) continue;
    avoid_paced_sending(socket.native_handle());
    std::tie(failed) = co_await socket.async_connect(place, net::kAsTuple);
    if (!socket.is_open()) failed = asio::error::operation_aborted;  // its time is over
    if (!failed || failed == asio::error::operation_aborted) break;
  }
  if (failed == asio::error::operation_aborted)
    co_return fail(Code::kUnavailable, "port {} does not answer", port);
  if (failed) co_return fail(Code::kUnavailable, "port {}: {}", port, failed.message());
  co_return Result<void>();
}

}  // namespace cohort::mesh
