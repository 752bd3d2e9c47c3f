#include "mesh/probe_socket.h"

#include <poll.h>
#include <sched.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "mesh/socket_options.h"

namespace cohort::mesh {
namespace {

using net::Clock;
using net::TimePoint;
using std::chrono::milliseconds;

constexpr std::chrono::microseconds kSpinTime{200};  // then the processor is left to others

}  // namespace

Result<size_t> ProbeSocket::check_time() const {
  if (Clock::now() < deadline_) return size_t{0};
  return fail(Code::kTimeout, "the probe took too long");
}

Result<size_t> ProbeSocket::receive_some(char* to, size_t size) {
  const ssize_t got = ::recv(socket_, to, size, MSG_DONTWAIT);
  if (got > 0) return static_cast<size_t>(got);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return check_time();
  return fail(Code::kUnavailable, "the probe's connection has ended");
}

Result<size_t> ProbeSocket::send_some(const char* from, size_t size) {
  const ssize_t sent = ::send(socket_, from, size, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent >= 0) return static_cast<size_t>(sent);
  if (errno == EAGAIN || errno == EINTR) return check_time();
  return fail(Code::kUnavailable, "the probe's connection has ended");
}

Result<void> ProbeSocket::receive(char* to, size_t size) {
  TimePoint spin_until = Clock::now() + kSpinTime;
  for (size_t have = 0; have < size;) {
    COHORT_TRY(const size_t got, receive_some(to + have, size - have));
    have += got;
    if (got > 0) continue;
    if (Clock::now() < spin_until) {
      ::sched_yield();
    } else {
      wait_for(POLLIN);
      spin_until = Clock::now() + kSpinTime;
    }
  }
  return {};
}

Result<void> ProbeSocket::send(const char* from, size_t size) {
  for (size_t gone = 0; gone < size;) {
    COHORT_TRY(const size_t sent, send_some(from + gone, size - gone));
    gone += sent;
    if (sent == 0) wait_for(POLLOUT);
  }
  return {};
}

void ProbeSocket::wait_for(short events) {
  const auto left = std::chrono::duration_cast<milliseconds>(deadline_ - Clock::now()).count();
  pollfd wanted = {.fd = socket_, .events = events, .revents = 0};
  ::poll(&wanted, 1, static_cast<int>(std::clamp<int64_t>(left, 0, 1000)));
}

void ProbeSocket::expect_speed() { let_queue_grow(socket_); }

}  // namespace cohort::mesh
