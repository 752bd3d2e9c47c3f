#include "mesh/path_probe.h"

#include <poll.h>
#include <sched.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <vector>

#include "base/bytes.h"
#include "mesh/socket_options.h"

namespace cohort::mesh {
namespace {

using net::Clock;
using net::TimePoint;
using std::chrono::milliseconds;

constexpr size_t kPingBytes = 64;
constexpr int kRounds = 4;
constexpr size_t kPingsOfRound = 50;
constexpr size_t kFewestPings = 3;
constexpr size_t kWarmUpPings = 10;
constexpr milliseconds kRoundTime{40};               // a slow path gets fewer pings
constexpr std::chrono::microseconds kSpinTime{200};  // then the processor is left to others
constexpr milliseconds kStartTime{40};  // of a burst: windows grow, shapers spend what they saved
constexpr milliseconds kLongestStart{500};
constexpr int kStartRoundTrips = 12;
constexpr size_t kStartBytes = 512 << 10;
constexpr milliseconds kSteadyTime{100};  // what counts, then
constexpr double kFastBytesPerS = 250e6;
constexpr int kFastWindows = 3;
constexpr size_t kFastBytes =
    16 << 20;  // a slow path's burst ends before; its queue must stay short
constexpr size_t kBlockBytes = 64 << 10;  // of a burst; a block's first byte is 1 in the last one
constexpr size_t kReceiveBytes = 256 << 10;
constexpr double kMostSeconds = 60;  // what a peer may claim as a round trip

double seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

class ProbeSocket {
 public:
  ProbeSocket(int socket, TimePoint deadline) : socket_(socket), deadline_(deadline) {}

  // 0: nothing there now.
  Result<size_t> receive_some(char* to, size_t size) {
    const ssize_t got = ::recv(socket_, to, size, MSG_DONTWAIT);
    if (got > 0) return static_cast<size_t>(got);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return check_time();
    return fail(Code::kUnavailable, "the probe's connection has ended");
  }

  Result<size_t> send_some(const char* from, size_t size) {
    const ssize_t sent = ::send(socket_, from, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0) return static_cast<size_t>(sent);
    if (errno == EAGAIN || errno == EINTR) return check_time();
    return fail(Code::kUnavailable, "the probe's connection has ended");
  }

  Result<void> receive(char* to, size_t size) {
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

  Result<void> send(const char* from, size_t size) {
    for (size_t gone = 0; gone < size;) {
      COHORT_TRY(const size_t sent, send_some(from + gone, size - gone));
      gone += sent;
      if (sent == 0) wait_for(POLLOUT);
    }
    return {};
  }

  void expect_speed() { let_queue_grow(socket_); }

  void wait_for(short events) {
    const auto left = std::chrono::duration_cast<milliseconds>(deadline_ - Clock::now()).count();
    pollfd wanted = {.fd = socket_, .events = events, .revents = 0};
    ::poll(&wanted, 1, static_cast<int>(std::clamp<int64_t>(left, 0, 1000)));
  }

 private:
  Result<size_t> check_time() const {
    if (Clock::now() < deadline_) return size_t{0};
    return fail(Code::kTimeout, "the probe took too long");
  }

  const int socket_;
  const TimePoint deadline_;
};

// A ping's first byte is 1 in the last one, which tells the figures so far: what comes next depends on them.
struct RoundTrips {
  double p50_s = 0, p99_s = 0;
};

double percentile(std::vector<double> samples, double share) {
  std::sort(samples.begin(), samples.end());
  return samples[static_cast<size_t>(share * static_cast<double>(samples.size() - 1))];
}

// Adds the round trips of up to `count` pings; a slow path gives fewer.
Result<void> ping(ProbeSocket& socket, size_t count, std::vector<double>& samples) {
  std::array<char, kPingBytes> bytes = {};
  const TimePoint until = Clock::now() + kRoundTime;
  for (size_t i = 0; i < count; ++i) {
    const TimePoint start = Clock::now();
    if (start > until && i >= kFewestPings) break;
    COHORT_TRY_VOID(socket.send(bytes.data(), bytes.size()));
    COHORT_TRY_VOID(socket.receive(bytes.data(), bytes.size()));
    samples.push_back(seconds(Clock::now() - start));
  }
  return {};
}

// The median of the calmest round: in the others something else may have had the processor.
Result<RoundTrips> measure_round_trips(ProbeSocket& socket) {
  std::vector<double> all;
  COHORT_TRY_VOID(ping(socket, kWarmUpPings, all));
  all.clear();
  RoundTrips figures;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<double> samples;
    COHORT_TRY_VOID(ping(socket, kPingsOfRound, samples));
    const double median = percentile(samples, 0.5);
    figures.p50_s = round == 0 ? median : std::min(figures.p50_s, median);
    all.insert(all.end(), samples.begin(), samples.end());
  }
  figures.p99_s = percentile(std::move(all), 0.99);
  std::array<char, kPingBytes> bytes = {};
  bytes[0] = 1;
  store(bytes.data() + 8, figures);
  COHORT_TRY_VOID(socket.send(bytes.data(), bytes.size()));
  return figures;
}

Result<RoundTrips> answer_pings(ProbeSocket& socket) {
  std::array<char, kPingBytes> bytes;
  for (;;) {
    COHORT_TRY_VOID(socket.receive(bytes.data(), bytes.size()));
    if (bytes[0] != 0) break;
    COHORT_TRY_VOID(socket.send(bytes.data(), bytes.size()));
  }
  const auto figures = load<RoundTrips>(bytes.data() + 8);
  const bool sane =
      figures.p50_s > 0 && figures.p50_s <= figures.p99_s && figures.p99_s < kMostSeconds;
  if (!sane) return fail(Code::kInvalidArgument, "the probe's figures make no sense");
  return figures;
}

// Sends until the receiver says it has seen enough, then a last block; returns when that has arrived.
Result<void> send_burst(ProbeSocket& socket) {
  std::vector<char> block(kBlockBytes, 0);
  size_t at = 0;  // in the block
  size_t total = 0;
  bool enough = false;
  for (;;) {
    char word;
    if (!enough) {
      COHORT_TRY(const size_t got, socket.receive_some(&word, 1));
      enough = got == 1;
    }
    if (at == 0 && enough) block[0] = 1;
    COHORT_TRY(const size_t sent, socket.send_some(block.data() + at, block.size() - at));
    if (sent == 0) socket.wait_for(enough ? POLLOUT : POLLOUT | POLLIN);
    if (total < kFastBytes && total + sent >= kFastBytes) socket.expect_speed();
    total += sent;
    at = (at + sent) % kBlockBytes;
    if (sent > 0 && at == 0 && block[0] == 1) return socket.receive(&word, 1);
  }
}

// The rate of a burst after its start. A fast one is seen several times and the best counts: it keeps whole processors
// busy, and something else may want them. (A slow one would show what the shaper saved.)
class BurstClock {
 public:
  explicit BurstClock(double round_trip_s)
      : start_s_(std::clamp(round_trip_s * kStartRoundTrips, seconds(kStartTime),
                            seconds(kLongestStart))) {}

  void on_bytes(size_t size, TimePoint now) {
    if (total_ == 0) window_begin_ = now;
    total_ += size;
    const double passed = seconds(now - window_begin_);
    const size_t window_bytes = total_ - window_total_;
    if (!started_) {
      const bool short_start = passed < start_s_ || window_bytes < kStartBytes;
      if (short_start && passed < seconds(kLongestStart)) return;
      started_ = true;
    } else {
      if (passed < seconds(kSteadyTime)) return;
      best_ = std::max(best_, static_cast<double>(window_bytes) / passed);
      ++windows_;
    }
    window_begin_ = now;
    window_total_ = total_;
  }

  bool enough() const {
    return windows_ == kFastWindows || (windows_ > 0 && best_ < kFastBytesPerS);
  }
  double bytes_per_s() const { return best_; }

 private:
  const double start_s_;
  TimePoint window_begin_;
  size_t total_ = 0, window_total_ = 0;
  bool started_ = false;
  int windows_ = 0;
  double best_ = 0;
};

Result<double> receive_burst(ProbeSocket& socket, double round_trip_s) {
  std::vector<char> bytes(kReceiveBytes);
  BurstClock clock(round_trip_s);
  size_t offset = 0;  // in the burst
  bool said_enough = false;
  for (bool ended = false; !ended;) {
    COHORT_TRY(const size_t got, socket.receive_some(bytes.data(), bytes.size()));
    if (got == 0) {
      socket.wait_for(POLLIN);
      continue;
    }
    if (!said_enough) clock.on_bytes(got, Clock::now());
    if (!said_enough && clock.enough()) {
      said_enough = true;
      COHORT_TRY_VOID(socket.send("e", 1));
    }
    for (size_t at = (kBlockBytes - offset % kBlockBytes) % kBlockBytes; at < got;
         at += kBlockBytes) {
      if (bytes[at] != 1) continue;
      if (got - at > kBlockBytes)
        return fail(Code::kInvalidArgument, "bytes behind a probe's burst");
      std::vector<char> rest(kBlockBytes - (got - at));
      COHORT_TRY_VOID(socket.receive(rest.data(), rest.size()));
      COHORT_TRY_VOID(socket.send("d", 1));
      ended = true;
    }
    offset += got;
  }
  if (!clock.enough()) return fail(Code::kInvalidArgument, "the probe's burst was too short");
  return clock.bytes_per_s();
}

// Each side tells the rate it received.
Result<double> slower_of(ProbeSocket& socket, double received_bytes_per_s) {
  char bytes[sizeof(double)];
  store(bytes, received_bytes_per_s);
  COHORT_TRY_VOID(socket.send(bytes, sizeof bytes));
  COHORT_TRY_VOID(socket.receive(bytes, sizeof bytes));
  const auto theirs = load<double>(bytes);
  if (!std::isfinite(theirs) || theirs <= 0)
    return fail(Code::kInvalidArgument, "the probe's figures make no sense");
  return std::min(theirs, received_bytes_per_s);
}

}  // namespace

Result<PathFigures> probe_path(int socket, ProbeRole role, net::TimePoint deadline) {
  ProbeSocket probe(socket, deadline);
  PathFigures figures;
  double received = 0;
  if (role == ProbeRole::kFirst) {
    COHORT_TRY(const RoundTrips trips, measure_round_trips(probe));
    figures = {.round_trip_p50_s = trips.p50_s, .round_trip_p99_s = trips.p99_s};
    COHORT_TRY_VOID(send_burst(probe));
    COHORT_TRY(received, receive_burst(probe, trips.p50_s));
  } else {
    COHORT_TRY(const RoundTrips trips, answer_pings(probe));
    figures = {.round_trip_p50_s = trips.p50_s, .round_trip_p99_s = trips.p99_s};
    COHORT_TRY(received, receive_burst(probe, trips.p50_s));
    COHORT_TRY_VOID(send_burst(probe));
  }
  COHORT_TRY(figures.bytes_per_s, slower_of(probe, received));
  return figures;
}

}  // namespace cohort::mesh
