#include "mesh/mesh.h"

#include <algorithm>
#include <list>
#include <map>
#include <random>
#include <set>
#include <utility>

#include <boost/asio/connect.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>

#include "base/check.h"
#include "base/log.h"
#include "mesh/candidates.h"
#include "mesh/discovery.h"
#include "mesh/handshake.h"
#include "mesh/hexadecimal.h"
#include "mesh/interfaces.h"
#include "mesh/link.h"
#include "mesh/listener.h"
#include "mesh/prober.h"
#include "mesh/refusals.h"
#include "mesh/remembered.h"
#include "mesh/socket_options.h"

namespace cohort::mesh {
namespace {

using net::Clock;
using net::Task;
using net::TimePoint;
using std::chrono::milliseconds;

constexpr size_t kMaxArrivals = 128;  // connections not yet trusted
constexpr size_t kMaxArrivalsOfOneAddress = 32;
constexpr size_t kMaxDials = 32;
constexpr milliseconds kHandshakeTimeout{4'000};
constexpr milliseconds kDialTimeout{6'000};  // look-up, connection and handshake
constexpr milliseconds kTick{200};
constexpr milliseconds kScanInterval{2'000};  // of our interfaces
constexpr milliseconds kGoodbyeTimeout{500};
constexpr milliseconds kAcceptPause{100};  // when the system is out of file descriptors
constexpr milliseconds kRedialPause{100};
constexpr milliseconds kOwnDial{10};  // after a beacon: time for a better interface's to come
constexpr milliseconds kOthersDial{
    300};  // the device with the smaller id dials; the other one helps out

// "host", "host:port", "1.2.3.4:5", "[::1]:5", "::1".
Result<Candidate> parse_peer(const std::string& text) {
  Candidate candidate{.host = text, .port = kDefaultPort};
  const size_t colon = text.rfind(':');
  const bool bracketed = text.starts_with('[');
  const bool bare_v6 = !bracketed && text.find(':') != colon;
  if (colon != std::string::npos && !bare_v6 && (!bracketed || text[colon - 1] == ']')) {
    const std::string digits = text.substr(colon + 1);
    const bool fine = !digits.empty() && digits.size() <= 5 &&
                      digits.find_first_not_of("0123456789") == std::string::npos;
    const int port = fine ? std::stoi(digits) : 0;
    if (port < 1 || port > UINT16_MAX)
      return fail(Code::kInvalidArgument, "peer '{}': the port must be 1 to 65535", text);
    candidate.host = text.substr(0, colon);
    candidate.port = static_cast<uint16_t>(port);
  }
  if (bracketed && candidate.host.ends_with(']'))
    candidate.host = candidate.host.substr(1, candidate.host.size() - 2);
  if (candidate.host.empty()) return fail(Code::kInvalidArgument, "peer '{}' names no host", text);
  return candidate;
}

std::string remote_address(tcp::socket& socket) {
  boost::system::error_code error;
  const auto endpoint = socket.remote_endpoint(error);
  return error ? "" : without_mapping(endpoint.address()).to_string();
}

Task<Result<std::string>> read_exactly(tcp::socket& socket, size_t size) {
  std::string bytes(size, '\0');
  const auto buffer = asio::buffer(bytes);
  const auto [error, got] = co_await asio::async_read(socket, buffer, net::kAsTuple);
  if (!error) co_return bytes;
  if (error == asio::error::operation_aborted) co_return fail(Code::kTimeout, "it says nothing");
  co_return fail(Code::kUnavailable, "it hung up before it said anything");
}

// Of several paths to one peer.
int preference(const Interface* interface, const address& ip) {
  static constexpr std::string_view kOrder[] = {"loopback", "thunderbolt", "ethernet", "wifi"};
  const std::string kind = interface == nullptr ? "" : interface_kind(*interface);
  const auto place = std::find(std::begin(kOrder), std::end(kOrder), kind) - std::begin(kOrder);
  return static_cast<int>(place) * 2 + (ip.is_v6() ? 1 : 0);
}

double chance() {
  static thread_local std::minstd_rand random{std::random_device{}()};
  return std::uniform_real_distribution<double>(0, 1)(random);
}

}  // namespace

struct Mesh::State {
  // A connection that is not trusted yet; closed when its deadline passes.
  struct Attempt {
    Attempt(std::list<Attempt*>& list, tcp::socket& of, TimePoint until)
        : attempts(list), place(list.insert(list.end(), this)), socket(of), deadline(until) {}
    Attempt(const Attempt&) = delete;
    Attempt& operator=(const Attempt&) = delete;
    ~Attempt() { attempts.erase(place); }

    std::list<Attempt*>& attempts;
    std::list<Attempt*>::iterator place;
    tcp::socket& socket;
    TimePoint deadline;
    std::string address;
  };

  State(net::Executor loop, MeshOptions given, MeshEvents to_tell)
      : executor(loop),
        options(std::move(given)),
        events(std::move(to_tell)),
        keys(derive_group_keys(options.cluster_namespace, options.secret)),
        contexts(keys),
        remembered(options.data_dir),
        prober(loop, prober_events()),
        wake(loop),
        links_changed(loop),
        tasks(loop) {}

  Result<void> open();
  void start_discovery();
  void on_beacon(const Beacon& beacon, const address& from, bool is_new);
  Task<void> close();
  Task<void> tick_loop();
  void tick(TimePoint now);
  void scan(TimePoint now);
  bool is_linked(const std::string& peer) const { return links.contains(peer); }

  Task<void> accept_loop(tcp::acceptor& acceptor);
  void on_arrival(tcp::socket socket);
  Task<void> receive(tcp::socket socket, std::string address);
  Task<void> dial(Candidate& candidate);
  Task<Result<Hello>> connect_and_greet(SecureSocket& socket, std::string host, uint16_t port);
  Task<Result<void>> connect(tcp::socket& socket, std::string host, uint16_t port);
  Task<Result<Hello>> greet(SecureSocket& socket, Role role);
  Result<void> admit(const Hello& theirs);
  Result<void> check_reach(const std::string& address) const;
  Task<void> keep_link(SecureSocket socket, Hello theirs, Role role);
  void remember(const Peer& peer);
  std::string local_kind(tcp::socket& socket) const;
  ProberEvents prober_events();
  LinkEvents link_events(const std::string& peer);
  void report(const std::string& address, const Error& error);

  net::Executor executor;
  const MeshOptions options;
  MeshEvents events;
  const GroupKeys keys;
  SecureContexts contexts;
  Hello hello;  // ours
  ListeningPort listening;
  std::vector<Interface> interfaces;
  TimePoint next_scan;
  Candidates candidates;
  RememberedPeers remembered;
  std::optional<Discovery> discovery;
  Prober prober;
  Refusals refusals;
  std::list<Attempt*> arrivals, dials;  // they live in the frames of receive() and dial()
  std::set<std::string> claims;         // ids whose link we have agreed to and not yet made
  std::map<std::string, Link*, std::less<>> links;  // they live in the frames of keep_link()
  bool closing = false;
  net::Notification wake;           // there is something for tick_loop()
  net::Notification links_changed;  // one has gone
  net::TaskGroup tasks;
};

Result<void> Mesh::State::open() {
  for (const std::string& peer : options.peers) {
    COHORT_TRY(Candidate candidate, parse_peer(peer));
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
           .public_key = hexadecimal(options.identity.public_key()),
           .name = options.name.substr(0, 128),
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
  const auto link = links.find(beacon.id);
  if (link != links.end()) {
    if (is_new && beacon.boot_unix_ms > link->second->peer().boot_unix_ms)
      link->second->end("it has started anew");
    else
      return;
  }
  const auto near_enough = check_reach(from.to_string());
  if (!near_enough) return report(from.to_string(), near_enough.error());
  const TimePoint now = Clock::now();
  const TimePoint when = now + (hello.id < beacon.id ? kOwnDial : kOthersDial);
  candidates.add({.host = from.to_string(),
                  .port = beacon.mesh_port,
                  .source = Source::kHeard,
                  .peer = beacon.id,
                  .preference = preference(interface_towards(interfaces, from), from),
                  .next_try = when,
                  .forgotten_at = now + Candidates::kHeardFor});
  if (is_new) candidates.retry(beacon.id, when);
  wake.notify_all();
}

Task<void> Mesh::State::close() {
  closing = true;
  boost::system::error_code ignored;
  for (tcp::acceptor& acceptor : listening.acceptors) acceptor.close(ignored);
  if (discovery) co_await discovery->close();
  co_await prober.close();
  for (const auto& [id, link] : links) link->say_goodbye("it leaves");
  const TimePoint deadline = Clock::now() + kGoodbyeTimeout;
  while (!links.empty()) {
    if (co_await links_changed.wait_uncancelled(deadline) != net::Wake::kNotified) break;
  }
  for (const auto& [id, link] : links) link->end("this device leaves");
  for (Attempt* attempt : arrivals) attempt->socket.close(ignored);
  for (Attempt* attempt : dials) attempt->socket.close(ignored);
  co_await tasks.close();
}

Task<void> Mesh::State::tick_loop() {
  const auto linked = [this](const std::string& peer) { return is_linked(peer); };
  for (;;) {
    const TimePoint now = Clock::now();
    tick(now);
    for (Candidate* candidate : candidates.take_due(now, linked)) tasks.spawn(dial(*candidate));
    const TimePoint next = std::min(now + kTick, candidates.next_due(linked));
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
  for (const auto& [id, link] : links) link->tick(now);
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

// One line for each address and cause, whoever began.
void Mesh::State::report(const std::string& address, const Error& error) {
  const bool ordinary = error.code == Code::kResourceExhausted || error.code == Code::kCancelled ||
                        error.code == Code::kNotFound;
  if (!ordinary && !closing && refusals.is_new(address, error.message))
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
      theirs = co_await greet(socket, Role::kListener);
    } else if (wish && *wish == kProbePreamble) {
      const auto token = co_await read_exactly(socket.next_layer(), kProbeTokenBytes);
      if (token) prober.take(std::move(socket.next_layer()), *token);
      co_return;
    } else if (!wish) {
      theirs = tl::unexpected(wish.error());
    }
  }
  if (theirs) {
    co_await keep_link(std::move(socket), std::move(*theirs), Role::kListener);
  } else {
    report(address, theirs.error());
  }
}

Task<Result<Hello>> Mesh::State::greet(SecureSocket& socket, Role role) {
  std::string claimed;
  HandshakeOptions handshake = {.role = role,
                                .identity = options.identity,
                                .hello = hello,
                                .admit = [this, &claimed](const Hello& theirs) {
                                  const auto admitted = admit(theirs);
                                  if (admitted) claimed = theirs.id;
                                  return admitted;
                                }};
  auto theirs = co_await shake_hands(socket, std::move(handshake));
  if (!theirs) claims.erase(claimed);
  co_return theirs;
}

Result<void> Mesh::State::admit(const Hello& theirs) {
  if (closing) return fail(Code::kCancelled, "this device leaves");
  const auto link = links.find(theirs.id);
  const bool linked = link != links.end() && link->second->alive() &&
                      link->second->peer().boot_unix_ms == theirs.boot_unix_ms;
  if (linked || !claims.insert(theirs.id).second)
    return fail(Code::kResourceExhausted, "we are linked already");
  return {};
}

Task<void> Mesh::State::dial(Candidate& candidate) {
  SecureSocket socket(executor, contexts.of(Role::kDialer));
  Result<Hello> theirs = fail(Code::kUnavailable, "too much is under way");
  const std::string place = candidate.host;
  if (dials.size() < kMaxDials) {
    const Attempt attempt(dials, socket.next_layer(), Clock::now() + kDialTimeout);
    theirs = co_await connect_and_greet(socket, candidate.host, candidate.port);
  }
  if (theirs) {
    candidates.succeeded(candidate, theirs->id);
    co_await keep_link(std::move(socket), std::move(*theirs), Role::kDialer);
    co_return;
  }
  candidate.is_us = theirs.error().code == Code::kNotFound;
  candidates.failed(candidate, Clock::now(), chance());
  report(place, theirs.error());
  wake.notify_all();
}

Task<Result<Hello>> Mesh::State::connect_and_greet(SecureSocket& socket, std::string host,
                                                   uint16_t port) {
  tcp::socket& plain = socket.next_layer();
  COHORT_CO_TRY_VOID(co_await connect(plain, host, port));
  COHORT_CO_TRY_VOID(check_reach(remote_address(plain)));
  tune_link_socket(plain.native_handle());
  const auto preamble = asio::buffer(kLinkPreamble.data(), kLinkPreamble.size());
  const auto [error, size] = co_await asio::async_write(plain, preamble, net::kAsTuple);
  if (error) co_return fail(Code::kUnavailable, "{}", error.message());
  co_return co_await greet(socket, Role::kDialer);
}

Task<Result<void>> Mesh::State::connect(tcp::socket& socket, std::string host, uint16_t port) {
  boost::system::error_code no_number;
  const auto ip = asio::ip::make_address(host, no_number);
  boost::system::error_code failed;
  if (!no_number) {
    const auto [error] = co_await socket.async_connect({ip, port}, net::kAsTuple);
    failed = error;
  } else {
    tcp::resolver resolver(executor);
    const auto [unknown, found] =
        co_await resolver.async_resolve(host, std::to_string(port), net::kAsTuple);
    if (unknown) co_return fail(Code::kUnavailable, "its name is unknown: {}", unknown.message());
    const auto [error, endpoint] = co_await asio::async_connect(socket, found, net::kAsTuple);
    failed = error;
  }
  if (failed == asio::error::operation_aborted)
    co_return fail(Code::kUnavailable, "port {} does not answer", port);
  if (failed) co_return fail(Code::kUnavailable, "port {}: {}", port, failed.message());
  co_return Result<void>();
}

// The link's whole life.
Task<void> Mesh::State::keep_link(SecureSocket socket, Hello theirs, Role role) {
  const std::string id = theirs.id;
  if (const auto old = links.find(id); old != links.end())
    old->second->end("a newer link takes its place");
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
  links.emplace(id, &link);
  log::info("linked with {} ({}) at {}", link.peer().name, id, link.peer().address);
  remember(link.peer());
  prober.link_up(std::move(path));
  events.link_up(link.peer());
  const std::string why = co_await link.run();
  links.erase(id);
  prober.link_lost(id);
  links_changed.notify_all();
  if (closing) co_return;
  log::info("the link with {} ({}) is lost: {}", link.peer().name, id, why);
  events.link_lost(id, why);
  candidates.retry(id, Clock::now() + kRedialPause);
  wake.notify_all();
}

std::string Mesh::State::local_kind(tcp::socket& socket) const {
  boost::system::error_code error;
  const auto local = socket.local_endpoint(error);
  const auto remote = socket.remote_endpoint(error);
  if (error) return "other";
  if (local.address() == remote.address()) return "loopback";
  const Interface* interface = interface_with(interfaces, local.address());
  return interface == nullptr ? "other" : interface_kind(*interface);
}

void Mesh::State::remember(const Peer& peer) {
  const auto kept = remembered.add({.id = peer.id, .host = peer.address, .port = peer.mesh_port});
  if (!kept) log::warn("peers are not remembered: {}", kept.error().message);
}

ProberEvents Mesh::State::prober_events() {
  return {.send =
              [this](const std::string& peer, std::string_view message) {
                const auto link = links.find(peer);
                return link != links.end() && link->second->send_probe(message);
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

Mesh::Mesh(std::unique_ptr<State> state) : state_(std::move(state)) {}
Mesh::~Mesh() = default;

Result<std::unique_ptr<Mesh>> Mesh::create(net::Executor executor, MeshOptions options,
                                           MeshEvents events) {
  COHORT_CHECK(events.link_up && events.link_lost && events.message && events.stream &&
               events.measured && events.busy);
  auto state = std::make_unique<State>(executor, std::move(options), std::move(events));
  COHORT_TRY_VOID(state->open());
  return std::unique_ptr<Mesh>(new Mesh(std::move(state)));
}

uint16_t Mesh::port() const { return state_->listening.port; }
const std::string& Mesh::id() const { return state_->options.identity.id(); }

std::vector<Peer> Mesh::peers() const {
  std::vector<Peer> peers;
  for (const auto& [id, link] : state_->links) peers.push_back(link->peer());
  return peers;
}

const Peer* Mesh::find(std::string_view peer) const {
  const auto link = state_->links.find(peer);
  return link == state_->links.end() ? nullptr : &link->second->peer();
}

std::vector<LinkStatus> Mesh::links() const { return state_->prober.results(); }

bool Mesh::send(const std::string& peer, std::string message) {
  const auto link = state_->links.find(peer);
  return link != state_->links.end() && link->second->send(std::move(message));
}

Result<std::unique_ptr<Stream>> Mesh::open_stream(const std::string& peer, std::string purpose) {
  const auto link = state_->links.find(peer);
  if (link == state_->links.end()) return fail(Code::kUnavailable, "no link to device {}", peer);
  return link->second->open_stream(std::move(purpose));
}

Task<void> Mesh::close() { co_await state_->close(); }

}  // namespace cohort::mesh
