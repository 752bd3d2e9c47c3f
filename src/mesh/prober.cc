#include "mesh/prober.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <random>
#include <utility>

#include <boost/asio/write.hpp>

#include "base/log.h"
#include "base/tcp_congestion.h"
#include "mesh/group_keys.h"
#include "mesh/handshake.h"
#include "mesh/socket_options.h"
#include "net/blocking_pool.h"

namespace cohort::mesh {
namespace {

using net::Clock;
using net::Task;
using net::TimePoint;

// A message over the link: one letter, then the token.
constexpr char kOffer = 'o', kAccept = 'a', kRefuse = 'r';

double chance() {
  static thread_local std::minstd_rand random{std::random_device{}()};
  return std::uniform_real_distribution<double>(0, 1)(random);
}

TimePoint after(Clock::duration wait, double factor) {
  return Clock::now() + std::chrono::duration_cast<Clock::duration>(wait * factor);
}

}  // namespace

Prober::Prober(net::Executor executor, ProberEvents events)
    : executor_(executor), events_(std::move(events)), tasks_(executor) {}

void Prober::link_up(ProbePath path) {
  const std::string peer = path.peer;
  if (session_ && session_->peer == peer) interrupt();  // it measured the path before this one
  const LinkStatus status = {.peer = peer, .address = path.address, .kind = path.kind};
  paths_.insert_or_assign(
      peer, Path{.path = std::move(path), .status = status, .next = Clock::now() + kFirstAfter});
}

void Prober::link_lost(const std::string& peer) {
  paths_.erase(peer);
  if (session_ && session_->peer == peer) interrupt();
}

void Prober::tick(TimePoint now) {
  if (session_ && (now > session_->deadline || (session_->running && events_.busy()))) interrupt();
  for (auto& [peer, path] : paths_) {
    if (!path.path.we_offer || path.next > now) continue;
    if (is_busy()) return;
    offer(path);
  }
}

void Prober::offer(Path& path) {
  const std::string token = random_bytes(kProbeTokenBytes);
  if (!events_.send(path.path.peer, kOffer + token)) return retry(path, true);
  begin(path, token);
}

void Prober::begin(const Path& path, std::string_view token) {
  session_ = Session{.peer = path.path.peer,
                     .token = std::string(token),
                     .first = path.path.we_dial,
                     .deadline = Clock::now() + kTimeout};
}

void Prober::on_message(const std::string& peer, std::string_view message) {
  const auto found = paths_.find(peer);
  if (found == paths_.end() || message.size() != 1 + kProbeTokenBytes) return;
  const Path& path = found->second;
  const std::string token(message.substr(1));
  const bool is_answer = message[0] == kAccept || message[0] == kRefuse;
  if (message[0] == kOffer && !path.path.we_offer) {
    if (is_busy()) {
      events_.send(peer, kRefuse + token);
      return;
    }
    begin(path, token);
    events_.send(peer, kAccept + token);
  } else if (!is_answer || !is_current(token) || session_->running || session_->peer != peer) {
    return;
  } else if (message[0] == kRefuse) {
    session_.reset();
    return retry(found->second, true);
  }
  if (path.path.we_dial) tasks_.spawn(dial(path.path.address, path.path.mesh_port, token));
}

void Prober::retry(Path& path, bool refused) {
  if (refused) {
    path.next = after(kRefusedPause, 1 + chance());
    return;
  }
  ++path.failures;
  const Clock::duration most = kAgain;
  path.next =
      after(std::min<Clock::duration>(most, kFailedPause * path.failures), 1 + chance() / 4);
}

bool Prober::is_current(std::string_view token) const {
  return session_ && equal_in_constant_time(session_->token, token);
}

Task<void> Prober::dial(std::string address, uint16_t port, std::string token) {
  boost::system::error_code ignored;
  tcp::socket socket(executor_);
  const tcp::endpoint place(asio::ip::make_address(address, ignored), port);
  socket.open(place.protocol(), ignored);
  if (!ignored) avoid_paced_sending(socket.native_handle());
  const auto [error] = co_await socket.async_connect(place, net::kAsTuple);
  if (!is_current(token)) co_return;
  if (error) co_return finish(fail(Code::kUnavailable, "{}", error.message()));
  const std::string greeting = std::string(kProbePreamble) + token;
  const auto buffer = asio::buffer(greeting);
  const auto [failed, size] = co_await asio::async_write(socket, buffer, net::kAsTuple);
  if (failed || !is_current(token)) co_return;
  co_await measure(std::move(socket), token);
}

void Prober::take(tcp::socket socket, std::string_view token) {
  if (!is_current(token) || session_->running || session_->first) return;
  tasks_.spawn(measure(std::move(socket), std::string(token)));
}

// The socket leaves the loop: the thread has it to itself.
Task<void> Prober::measure(tcp::socket socket, std::string token) {
  tune_probe_socket(socket.native_handle());
  boost::system::error_code error;
  const int descriptor = socket.release(error);
  if (error) co_return;
  session_->running = true;
  session_->socket = descriptor;
  const ProbeRole role = session_->first ? ProbeRole::kFirst : ProbeRole::kSecond;
  const TimePoint deadline = session_->deadline;
  net::BlockingPool thread(executor_, 1);
  const Result<PathFigures> figures = co_await thread.run(
      [descriptor, role, deadline] { return probe_path(descriptor, role, deadline); });
  ::close(descriptor);
  if (is_current(token)) finish(figures);
}

// Ends the session. A failure is retried; where the other end offers, it does that.
void Prober::finish(const Result<PathFigures>& figures) {
  const std::string peer = session_->peer;
  session_.reset();
  const auto found = paths_.find(peer);
  if (found == paths_.end()) return;
  Path& path = found->second;
  if (!figures) {
    log::debug("the path to {} was not measured: {}", peer, figures.error().message);
    return retry(path, events_.busy());
  }
  path.failures = 0;
  path.next = after(kAgain, 0.95 + chance() / 10);
  path.status.round_trip_p50_s = figures->round_trip_p50_s;
  path.status.round_trip_p99_s = figures->round_trip_p99_s;
  path.status.message_s = figures->message_s;
  path.status.bytes_per_s = figures->bytes_per_s;
  path.status.measured_at = Clock::now();
  events_.measured(peer);
}

// A running one ends by itself then.
void Prober::interrupt() {
  if (session_->running) {
    ::shutdown(session_->socket, SHUT_RDWR);
  } else {
    finish(fail(Code::kTimeout, "it did not begin in time"));
  }
}

std::vector<LinkStatus> Prober::results() const {
  std::vector<LinkStatus> all;
  for (const auto& [peer, path] : paths_) all.push_back(path.status);
  return all;
}

Task<void> Prober::close() {
  paths_.clear();
  if (session_) interrupt();
  co_await tasks_.close();
}

}  // namespace cohort::mesh
