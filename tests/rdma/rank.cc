// One of two ranks, as a process: what tests/rdma/suite.sh runs in its machines.
//
//   rdma_rank COMMAND --rank 0|1 --listen PORT --peer ADDRESS:PORT --transport NAME [--spin US] [--locked BYTES] [--plain 1]
//
//   check    every collective over many sizes, values verified
//   endure   collectives until the other rank dies; right when the error names it, and comes within a second
//   open     only links; prints why it cannot
//   time     half a round trip and all_sum at several sizes (rank 0 prints)
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "transport/connect.h"
#include "transport/group.h"

namespace cohort::transport {
namespace {

using Clock = std::chrono::steady_clock;
using Bytes = std::vector<std::byte>;

constexpr int kRight = 0, kWrong = 1, kUsage = 2, kNoLink = 3;
constexpr std::chrono::milliseconds kLongestDeath{1000};

struct Settings {
  std::string command;
  int rank = 0;
  uint16_t listen = 0, peer_port = 0;
  std::string peer_host, transport;
  int spin_us = 0;
  rlim_t locked_bytes = 0;  // 0: as it is
  bool plain = false;       // TCP without encryption
};

Deadline soon() { return Deadline::after(std::chrono::seconds(60)); }

// What a rank sends in round `round`.
Bytes pattern(int rank, size_t round, size_t size) {
  std::minstd_rand random(static_cast<uint32_t>(rank * 7919 + static_cast<int>(round) + 1));
  Bytes bytes(size);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random() >> 8);
  return bytes;
}

float value(int rank, size_t index) {
  return static_cast<float>((index * 2654435761u + static_cast<size_t>(rank) * 40503u) % 20011) *
         1.7e-3f;
}

Result<void> expect(bool right, std::string_view what, size_t size) {
  if (right) return {};
  return fail(Code::kDataLoss, "{} of {}: other values than were sent", what, size);
}

Result<void> check_sum(Group& group, size_t count) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = value(group.rank(), i);
  COHORT_TRY_VOID(group.all_sum(values, soon()));
  for (size_t i = 0; i < count; ++i)
    COHORT_TRY_VOID(expect(values[i] == value(0, i) + value(1, i), "all_sum", count));
  return {};
}

Result<void> check_gather(Group& group, size_t size) {
  const std::vector<size_t> sizes{size, size / 2 + 1};
  const Bytes parts[] = {pattern(0, size, sizes[0]), pattern(1, size, sizes[1])};
  Bytes all(sizes[0] + sizes[1]);
  COHORT_TRY_VOID(group.all_gather(parts[static_cast<size_t>(group.rank())], sizes, all, soon()));
  const bool right =
      std::equal(parts[0].begin(), parts[0].end(), all.begin()) &&
      std::equal(parts[1].begin(), parts[1].end(), all.begin() + static_cast<ptrdiff_t>(size));
  return expect(right, "all_gather", size);
}

Result<void> check_broadcast(Group& group, size_t size) {
  for (int root : {0, 1}) {
    Bytes bytes = group.rank() == root ? pattern(root, size, size) : Bytes();
    COHORT_TRY_VOID(group.broadcast(root, bytes, soon()));
    COHORT_TRY_VOID(expect(bytes == pattern(root, size, size), "broadcast", size));
  }
  return {};
}

Result<void> check_points(Group& group, size_t size) {
  const int other = 1 - group.rank();
  for (int sender : {0, 1}) {
    if (group.rank() == sender) {
      COHORT_TRY_VOID(group.send(other, pattern(sender, size, size), soon()));
      continue;
    }
    Bytes bytes(size);
    COHORT_TRY_VOID(group.receive(other, bytes, soon()));
    COHORT_TRY_VOID(expect(bytes == pattern(sender, size, size), "send", size));
  }
  return {};
}

Result<void> check_all(Group& group) {
  constexpr size_t kSizes[] = {1,    2,    3,     7,     64,     1000,    4095,   4096,
                               4097, 8192, 65536, 65537, 300001, 1 << 20, 4 << 20};
  for (size_t size : kSizes) {
    COHORT_TRY_VOID(check_sum(group, std::max<size_t>(size / sizeof(float), 1)));
    COHORT_TRY_VOID(check_gather(group, size));
    COHORT_TRY_VOID(check_broadcast(group, size));
    COHORT_TRY_VOID(check_points(group, size));
    COHORT_TRY_VOID(group.barrier(soon()));
  }
  return {};
}

int check(Group& group, const Settings&) {
  const auto start = Clock::now();
  const Result<void> done = check_all(group);
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  if (done) fmt::print("rank {}: all collectives are right, {:.1f} s\n", group.rank(), seconds);
  if (!done) fmt::print("rank {}: WRONG: {}\n", group.rank(), done.error().message);
  return done ? kRight : kWrong;
}

// Operations of random kinds and sizes, the same ones on both ranks.
int endure(Group& group, const Settings&) {
  std::minstd_rand random(5);
  Result<void> done;
  auto last = Clock::now();
  while (done) {
    last = Clock::now();
    const size_t size = 1 + random() % (random() % 4 == 0 ? 500'000 : 20'000);
    switch (random() % 4) {
      case 0: done = check_gather(group, size); break;
      case 1: done = check_points(group, size); break;
      default: done = check_sum(group, size); break;
    }
  }
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - last);
  const std::string other = fmt::format("rank {} (host{})", 1 - group.rank(), 1 - group.rank());
  const bool named = done.error().message.find(other) != std::string::npos;
  const bool right = named && done.error().code == Code::kUnavailable && took < kLongestDeath;
  fmt::print("rank {}: {}after {} ms: {}\n", group.rank(), right ? "" : "WRONG: ", took.count(),
             done.error().message);
  return right ? kRight : kWrong;
}

double median_us(std::vector<double>& times) {
  std::sort(times.begin(), times.end());
  return times[times.size() / 2] * 1e6;
}

// Rank 0's times of `count` calls.
template <class Operation>
Result<double> median_of(int count, Operation operation) {
  std::vector<double> times;
  for (int i = 0; i < count; ++i) {
    const auto start = Clock::now();
    COHORT_TRY_VOID(operation());
    times.push_back(std::chrono::duration<double>(Clock::now() - start).count());
  }
  return median_us(times);
}

Result<void> pass_back_and_forth(Group& group, std::vector<std::byte>& bytes) {
  const int other = 1 - group.rank();
  if (group.rank() == 0) COHORT_TRY_VOID(group.send(other, bytes, soon()));
  COHORT_TRY_VOID(group.receive(other, bytes, soon()));
  return group.rank() == 1 ? group.send(other, bytes, soon()) : Result<void>();
}

Result<void> time_sizes(Group& group, const Settings& settings) {
  constexpr int kCalls = 100;
  for (size_t kib : {4, 8, 16, 64}) {
    Bytes bytes(kib * 1024);
    std::vector<float> values(bytes.size() / sizeof(float));
    COHORT_TRY(const double trip,
               median_of(kCalls, [&] { return pass_back_and_forth(group, bytes); }));
    COHORT_TRY(const double sum, median_of(kCalls, [&] { return group.all_sum(values, soon()); }));
    if (group.rank() == 0)
      fmt::print("time: {:10} {:3} KiB  half round trip {:9.1f} us  all_sum {:9.1f} us\n",
                 settings.transport, kib, trip / 2, sum);
  }
  return {};
}

int time(Group& group, const Settings& settings) {
  const Result<void> timed = time_sizes(group, settings);
  if (!timed) fmt::print("WRONG: {}\n", timed.error().message);
  return timed ? kRight : kWrong;
}

int open_only(Group&, const Settings&) { return kRight; }

// As a user without privileges, whom the limit binds.
void limit_locked_memory(rlim_t bytes) {
  const rlimit limit{bytes, bytes};
  if (setrlimit(RLIMIT_MEMLOCK, &limit) != 0 || setuid(65534) != 0) fmt::print("WRONG: no limit\n");
}

Result<std::unique_ptr<Group>> join(const Settings& settings) {
  COHORT_TRY(UniqueFd listener, listen_tcp({.host = "0.0.0.0", .port = settings.listen}));
  const RankPeer peer{.rank = 1 - settings.rank,
                      .address = {settings.peer_host, settings.peer_port},
                      .name = fmt::format("host{}", 1 - settings.rank)};
  COHORT_TRY(auto links,
             connect_ranks(std::move(listener), {&peer, 1},
                           {.rank = settings.rank,
                            .instance = 1,
                            .secret = settings.plain ? std::nullopt : std::optional(LinkKey{}),
                            .transport = settings.transport,
                            .deadline = Deadline::after(std::chrono::seconds(30))}));
  return make_group(settings.rank, std::move(links),
                    {.spin_time = std::chrono::microseconds(settings.spin_us)});
}

Settings parse(int count, char** words) {
  std::map<std::string, std::string> given;
  for (int i = 2; i + 1 < count; i += 2) given[words[i]] = words[i + 1];
  const std::string peer = given["--peer"];
  const size_t colon = peer.find(':');
  const auto number = [](const std::string& text) { return std::atol(text.c_str()); };
  return {
      .command = count > 1 ? words[1] : "",
      .rank = static_cast<int>(number(given["--rank"])),
      .listen = static_cast<uint16_t>(number(given["--listen"])),
      .peer_port = static_cast<uint16_t>(colon == peer.npos ? 0 : number(peer.substr(colon + 1))),
      .peer_host = peer.substr(0, colon),
      .transport = given["--transport"],
      .spin_us = static_cast<int>(number(given["--spin"])),
      .locked_bytes = static_cast<rlim_t>(number(given["--locked"])),
      .plain = number(given["--plain"]) != 0};
}

int run(const Settings& settings) {
  const std::map<std::string, int (*)(Group&, const Settings&)> commands{
      {"check", check}, {"endure", endure}, {"open", open_only}, {"time", time}};
  const auto command = commands.find(settings.command);
  if (command == commands.end() || settings.peer_port == 0) return kUsage;
  if (settings.locked_bytes > 0) limit_locked_memory(settings.locked_bytes);
  const auto group = join(settings);
  if (!group) {
    fmt::print("rank {}: no link: {}\n", settings.rank, group.error().message);
    return kNoLink;
  }
  if (const auto met = (*group)->barrier(soon()); !met) {
    fmt::print("rank {}: WRONG: {}\n", settings.rank, met.error().message);
    return kNoLink;
  }
  fmt::print("rank {}: linked\n", settings.rank);
  std::fflush(stdout);
  return command->second(**group, settings);
}

}  // namespace
}  // namespace cohort::transport

int main(int count, char** words) {
  return cohort::transport::run(cohort::transport::parse(count, words));
}
