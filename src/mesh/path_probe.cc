#include "mesh/path_probe.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "base/bytes.h"
#include "mesh/probe_burst.h"
#include "mesh/probe_socket.h"

namespace cohort::mesh {
namespace {

using net::Clock;
using net::TimePoint;
using std::chrono::milliseconds;

// A ping's first byte says whether it is the last one, which tells the figures so far: what comes next depends on them.
// Its second asks for exchanges, as many as the third says, and in the answer agrees to them; older releases only echo.
constexpr size_t kPingBytes = 64;
constexpr size_t kLastAt = 0, kExchangeAt = 1, kCountAt = 2, kFiguresAt = 8;
constexpr char kAsk = 1, kAgree = 2;

constexpr int kRounds = 4;
constexpr size_t kPingsOfRound = 50;
constexpr size_t kFewestPings = 3;
constexpr size_t kWarmUpPings = 10;
constexpr milliseconds kRoundTime{40};  // a slow path gets fewer pings, and fewer exchanges
constexpr int kMostExchanges = 40, kFewestExchanges = 4;
constexpr std::chrono::microseconds kBetweenExchanges{100};  // as a layer computes between two sums
constexpr double kMostSeconds = 60;                          // what a peer may claim

using Ping = std::array<char, kPingBytes>;

double seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

struct Latencies {
  double round_trip_p50_s = 0, round_trip_p99_s = 0;
  double message_s = 0;  // 0: the other end does not know how
};

double percentile(std::vector<double> samples, double share) {
  std::sort(samples.begin(), samples.end());
  return samples[static_cast<size_t>(share * static_cast<double>(samples.size() - 1))];
}

// Adds the round trips of up to `count` pings; a slow path gives fewer.
Result<void> ping(ProbeSocket& socket, size_t count, std::vector<double>& samples) {
  Ping bytes = {};
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
Result<Latencies> measure_round_trips(ProbeSocket& socket) {
  std::vector<double> all;
  COHORT_TRY_VOID(ping(socket, kWarmUpPings, all));
  all.clear();
  Latencies figures;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<double> samples;
    COHORT_TRY_VOID(ping(socket, kPingsOfRound, samples));
    const double median = percentile(samples, 0.5);
    figures.round_trip_p50_s = round == 0 ? median : std::min(figures.round_trip_p50_s, median);
    all.insert(all.end(), samples.begin(), samples.end());
  }
  figures.round_trip_p99_s = percentile(std::move(all), 0.99);
  return figures;
}

// Both ends send a message and wait for the other's, then for a while do something else: the median of what the rounds took
// beyond that.
Result<double> exchange(ProbeSocket& socket, int count) {
  std::vector<char> message(kProbeMessageBytes, 0);
  std::vector<double> samples;
  TimePoint start = Clock::now();
  for (int i = 0; i < count; ++i) {
    COHORT_TRY_VOID(socket.send(message.data(), message.size()));
    COHORT_TRY_VOID(socket.receive(message.data(), message.size()));
    const TimePoint resume = Clock::now() + kBetweenExchanges;
    while (Clock::now() < resume) {
    }
    const TimePoint end = Clock::now();
    samples.push_back(seconds(end - start - kBetweenExchanges));
    start = end;
  }
  return percentile(std::move(samples), 0.5);
}

// 0: the other end is of a release that has no exchanges.
Result<double> ask_for_exchanges(ProbeSocket& socket, double round_trip_s) {
  const auto count = std::clamp(static_cast<int>(seconds(kRoundTime) / round_trip_s),
                                kFewestExchanges, kMostExchanges);
  Ping bytes = {};
  bytes[kExchangeAt] = kAsk;
  bytes[kCountAt] = static_cast<char>(count);
  COHORT_TRY_VOID(socket.send(bytes.data(), bytes.size()));
  COHORT_TRY_VOID(socket.receive(bytes.data(), bytes.size()));
  if (bytes[kExchangeAt] != kAgree) return 0.0;
  return exchange(socket, count);
}

Result<Latencies> measure_latencies(ProbeSocket& socket) {
  COHORT_TRY(Latencies figures, measure_round_trips(socket));
  COHORT_TRY(figures.message_s, ask_for_exchanges(socket, figures.round_trip_p50_s));
  Ping last = {};
  last[kLastAt] = 1;
  store(last.data() + kFiguresAt, figures);
  COHORT_TRY_VOID(socket.send(last.data(), last.size()));
  return figures;
}

bool make_sense(const Latencies& figures) {
  return figures.round_trip_p50_s > 0 && figures.round_trip_p50_s <= figures.round_trip_p99_s &&
         figures.round_trip_p99_s < kMostSeconds && figures.message_s >= 0 &&
         figures.message_s < kMostSeconds;
}

Result<Latencies> answer_pings(ProbeSocket& socket) {
  Ping bytes;
  for (;;) {
    COHORT_TRY_VOID(socket.receive(bytes.data(), bytes.size()));
    if (bytes[kLastAt] != 0) break;
    const bool exchanges = bytes[kExchangeAt] == kAsk;
    if (exchanges) bytes[kExchangeAt] = kAgree;
    COHORT_TRY_VOID(socket.send(bytes.data(), bytes.size()));
    const int count = std::clamp<int>(bytes[kCountAt], 1, kMostExchanges);
    if (exchanges) COHORT_TRY_VOID(exchange(socket, count));
  }
  const auto figures = load<Latencies>(bytes.data() + kFiguresAt);
  if (make_sense(figures)) return figures;
  return fail(Code::kInvalidArgument, "the probe's figures make no sense");
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
  const bool first = role == ProbeRole::kFirst;
  COHORT_TRY(const Latencies latencies, first ? measure_latencies(probe) : answer_pings(probe));
  double received = 0;
  if (first) COHORT_TRY_VOID(send_burst(probe));
  COHORT_TRY(received, receive_burst(probe, latencies.round_trip_p50_s));
  if (!first) COHORT_TRY_VOID(send_burst(probe));
  PathFigures figures{.round_trip_p50_s = latencies.round_trip_p50_s,
                      .round_trip_p99_s = latencies.round_trip_p99_s,
                      .message_s = latencies.message_s};
  COHORT_TRY(figures.bytes_per_s, slower_of(probe, received));
  return figures;
}

}  // namespace cohort::mesh
