// all_sum of 2 ranks, each on a core of its own, beside the least that any sum must do on the same machine at the same
// moment: both send, both receive, nothing else. Read p50_us: the mean also holds what other programs took of the cores.
#include <benchmark/benchmark.h>

#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <future>
#include <limits>
#include <thread>
#include <vector>

#include "hosts.h"
#include "transport/local_groups.h"
#include "transport/tcp.h"

namespace cohort::transport {
namespace {

using Clock = std::chrono::steady_clock;

template <class Operation>
void time_each(benchmark::State& state, Operation operation) {
  std::vector<double> times_us;
  for (auto _ : state) {
    const auto start = Clock::now();
    if (!operation()) return state.SkipWithError("the other rank failed");
    times_us.push_back(std::chrono::duration<double, std::micro>(Clock::now() - start).count());
  }
  std::sort(times_us.begin(), times_us.end());
  state.counters["min_us"] = times_us.front();
  state.counters["p50_us"] = times_us[times_us.size() / 2];
  state.counters["p90_us"] = times_us[times_us.size() * 9 / 10];
}

std::unique_ptr<Link> open_end(UniqueFd socket, int rank, const std::optional<LinkKey>& secret) {
  const HandshakeOptions handshake{.rank = rank, .peer_rank = 1 - rank, .secret = secret};
  return open_tcp_link(std::move(socket), handshake, "the other rank").value();
}

LinkPair make_links(const LocalGroupOptions& options) {
  if (options.type == LinkType::kShm) {
    LinkTable links = make_local_links(options).value();
    return {std::move(links[0][1]), std::move(links[1][0])};
  }
  auto sockets = connected_hosts().value();
  auto far = std::async(std::launch::async,
                        [&] { return open_end(std::move(sockets.second), 1, options.secret); });
  auto near = open_end(std::move(sockets.first), 0, options.secret);
  return {std::move(near), far.get()};
}

std::vector<std::unique_ptr<Group>> make_groups(const LocalGroupOptions& options) {
  LinkPair ends = make_links(options);
  std::vector<std::unique_ptr<Link>> near(2), far(2);
  near[1] = std::move(ends.first);
  far[0] = std::move(ends.second);
  std::vector<std::unique_ptr<Group>> groups;
  groups.push_back(make_group(0, std::move(near), options.group));
  groups.push_back(make_group(1, std::move(far), options.group));
  return groups;
}

void time_all_sum(benchmark::State& state, const LocalGroupOptions& options) {
  auto groups = make_groups(options);
  const auto count = static_cast<size_t>(state.range(0)) / sizeof(float);
  const auto serve = [count](Group& group) {
    pin_to_core(1);
    std::vector<float> values(count);
    while (group.all_sum(values, Deadline::never())) {
    }
  };
  pin_to_core(0);
  std::thread other(serve, std::ref(*groups[1]));
  std::vector<float> values(count);
  time_each(state, [&] { return groups[0]->all_sum(values, Deadline::never()).has_value(); });
  groups[0]->abort("done");
  other.join();
}

void all_sum_tcp(benchmark::State& state) {
  time_all_sum(state, {.size = 2, .type = LinkType::kTcp});
}
void all_sum_tcp_encrypted(benchmark::State& state) {
  time_all_sum(state, {.size = 2, .type = LinkType::kTcp, .secret = LinkKey{}});
}
void all_sum_tcp_bf16(benchmark::State& state) {
  time_all_sum(state, {.size = 2, .type = LinkType::kTcp, .group = {.wire = Wire::kBF16}});
}
void all_sum_tcp_q8(benchmark::State& state) {
  time_all_sum(state, {.size = 2, .type = LinkType::kTcp, .group = {.wire = Wire::kQ8}});
}
void all_sum_shm(benchmark::State& state) {
  time_all_sum(state, {.size = 2, .type = LinkType::kShm});
}

// 4 ranks behind cables of 1 Gbit/s and 50 us; in one process, so the threads share the cores.
void time_ways(benchmark::State& state, size_t bytes_per_latency, bool tuned) {
  const LocalGroupOptions options{
      .size = 4,
      .path = SlowPath{.one_way = std::chrono::microseconds(50), .bytes_per_s = 125e6},
      .group = {.bytes_per_latency = bytes_per_latency}};
  auto groups = make_local_groups(options).value();
  const auto count = static_cast<size_t>(state.range(0)) / sizeof(float);
  std::vector<std::thread> others;
  for (size_t rank = 1; rank < groups.size(); ++rank) {
    others.emplace_back([&group = *groups[rank], count, tuned] {
      if (tuned && !group.tune(Deadline::never())) return;
      std::vector<float> values(count);
      while (group.all_sum(values, Deadline::never())) {
      }
    });
  }
  std::vector<float> values(count);
  if (tuned && !groups[0]->tune(Deadline::never())) return state.SkipWithError("not tuned");
  time_each(state, [&] { return groups[0]->all_sum(values, Deadline::never()).has_value(); });
  groups[0]->abort("done");
  for (std::thread& other : others) other.join();
}

void all_sum_of_4_direct(benchmark::State& state) {
  time_ways(state, std::numeric_limits<size_t>::max() / 16, false);
}
void all_sum_of_4_two_steps(benchmark::State& state) { time_ways(state, 0, false); }
void all_sum_of_4_tuned(benchmark::State& state) { time_ways(state, 0, true); }

bool exchange(int fd, std::vector<char>& buffer) {
  for (size_t sent = 0; sent < buffer.size();) {
    const ssize_t count = ::send(fd, buffer.data() + sent, buffer.size() - sent, kSendFlags);
    if (count > 0) sent += static_cast<size_t>(count);
  }
  for (size_t received = 0; received < buffer.size();) {
    const ssize_t count =
        ::recv(fd, buffer.data() + received, buffer.size() - received, MSG_DONTWAIT);
    if (count == 0) return false;
    if (count > 0) received += static_cast<size_t>(count);
  }
  return true;
}

void raw_exchange_tcp(benchmark::State& state) {
  auto sockets = connected_hosts().value();
  const auto size = static_cast<size_t>(state.range(0));
  pin_to_core(0);
  std::thread other([fd = sockets.second.get(), size] {
    pin_to_core(1);
    std::vector<char> buffer(size);
    while (exchange(fd, buffer)) {
    }
  });
  std::vector<char> buffer(size);
  time_each(state, [&] { return exchange(sockets.first.get(), buffer); });
  shutdown(sockets.first.get(), SHUT_RDWR);
  other.join();
}

// One side of an exchange through memory: a flag that counts rounds, and the bytes.
struct RawSide {
  alignas(64) std::atomic<int64_t> round{0};
  alignas(64) char bytes[1 << 20];
};

bool exchange(RawSide& ours, RawSide& theirs, int64_t round, std::vector<char>& buffer) {
  std::memcpy(ours.bytes + (round % 2) * (1 << 19), buffer.data(), buffer.size());
  ours.round.store(round, std::memory_order_release);
  int64_t seen = 0;
  while ((seen = theirs.round.load(std::memory_order_acquire)) >= 0 && seen < round) {
  }
  std::memcpy(buffer.data(), theirs.bytes + (round % 2) * (1 << 19), buffer.size());
  return seen >= 0;
}

void raw_exchange_shm(benchmark::State& state) {
  auto sides = std::make_unique<RawSide[]>(2);
  const auto size = static_cast<size_t>(state.range(0));
  pin_to_core(0);
  std::thread other([&] {
    pin_to_core(1);
    std::vector<char> buffer(size);
    for (int64_t round = 1; exchange(sides[1], sides[0], round, buffer); ++round) {
    }
  });
  std::vector<char> buffer(size);
  int64_t round = 0;
  time_each(state, [&] { return exchange(sides[0], sides[1], ++round, buffer); });
  sides[0].round.store(-1);
  other.join();
}

#define COHORT_SIZES \
  ->Arg(1 << 10)->Arg(8 << 10)->Arg(64 << 10)->MinTime(0.2)->Unit(benchmark::kMicrosecond)
BENCHMARK(raw_exchange_tcp) COHORT_SIZES;
BENCHMARK(all_sum_tcp) COHORT_SIZES->Arg(4 << 20);
BENCHMARK(all_sum_tcp_encrypted) COHORT_SIZES;
BENCHMARK(all_sum_tcp_bf16) COHORT_SIZES;
BENCHMARK(all_sum_tcp_q8) COHORT_SIZES;
BENCHMARK(all_sum_of_4_direct) COHORT_SIZES->Arg(4 << 10)->Arg(16 << 10);
BENCHMARK(all_sum_of_4_two_steps) COHORT_SIZES->Arg(4 << 10)->Arg(16 << 10);
BENCHMARK(all_sum_of_4_tuned) COHORT_SIZES->Arg(4 << 10)->Arg(16 << 10);
BENCHMARK(raw_exchange_shm) COHORT_SIZES;
BENCHMARK(all_sum_shm) COHORT_SIZES->Arg(4 << 20);

}  // namespace
}  // namespace cohort::transport
