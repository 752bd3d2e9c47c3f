// Ranks as processes, one of which is killed: the others must fail, whatever they were waiting for, and say who died.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <vector>

#include "transport/group.h"
#include "transport/shm.h"
#include "transport/socket.h"
#include "transport/tcp.h"

namespace cohort::transport {
namespace {

constexpr int kSize = 4;
constexpr int kVictim = 2;

enum Exit { kSawDeath = 0, kNoError = 10, kWrongCode = 11, kWrongName = 12, kNoGroup = 13 };

// Deadlines are long: an error by timeout would be the wrong one, and is what a hang would turn into.
Deadline late() { return Deadline::after(std::chrono::seconds(60)); }

using Sockets = std::vector<std::vector<UniqueFd>>;  // sockets[a][b]: rank a's end towards b

Sockets connect_all(bool tcp) {
  Sockets sockets(kSize);
  for (auto& row : sockets) row.resize(kSize);
  for (size_t a = 0; a < kSize; ++a) {
    for (size_t b = a + 1; b < kSize; ++b) {
      auto pair = tcp ? tcp_pair().value() : unix_pair().value();
      sockets[a][b] = std::move(pair.first);
      sockets[b][a] = std::move(pair.second);
    }
  }
  return sockets;
}

// Peers in ascending order on every rank, so that no two handshakes wait for each other.
std::unique_ptr<Group> join(int rank, bool tcp, std::vector<UniqueFd> sockets,
                            const GroupOptions& options) {
  std::vector<std::unique_ptr<Link>> links(kSize);
  for (int peer = 0; peer < kSize; ++peer) {
    if (peer == rank) continue;
    const auto p = static_cast<size_t>(peer);
    const std::string name = fmt::format("rank {}", peer);
    auto link = tcp ? open_tcp_link(std::move(sockets[p]), {.rank = rank, .peer_rank = peer}, name)
                    : open_shm_link(std::move(sockets[p]), {.creator = rank < peer, .name = name});
    if (!link) _exit(kNoGroup);
    links[p] = std::move(*link);
  }
  return make_group(rank, std::move(links), options);
}

// What survivors do when the victim dies, and how they wait.
struct Scene {
  bool tcp = true;
  bool spin = true;
  bool in_a_ring = false;  // wait for each other instead of for the victim
};

[[noreturn]] void survive(Group& group, const Scene& scene) {
  std::vector<float> values(100'000);
  Result<void> result;
  while (result) {
    constexpr int kNext[kSize] = {1, 3, -1, 0};  // 0 waits for 1, 1 for 3, 3 for 0
    result = scene.in_a_ring ? group.receive(kNext[group.rank()],
                                             std::as_writable_bytes(std::span(values)), late())
                             : group.all_sum(values, late());
  }
  if (result.error().code != Code::kUnavailable) _exit(kWrongCode);
  // Whoever saw the victim die passes its name on; in the middle of a long message a link can only close.
  const std::string_view named = scene.in_a_ring ? "rank 2" : "rank";
  if (result.error().message.find(named) == std::string::npos) _exit(kWrongName);
  _exit(kSawDeath);
}

[[noreturn]] void run_rank(int rank, const Scene& scene, Sockets all, int ready_fd) {
  std::vector<UniqueFd> own = std::move(all[static_cast<size_t>(rank)]);
  all.clear();  // a dead peer shows only when nobody else holds its ends
  const GroupOptions options{.spin_time = std::chrono::microseconds(scene.spin ? 1'000'000 : 0)};
  const std::unique_ptr<Group> group = join(rank, scene.tcp, std::move(own), options);
  if (!group->barrier(late())) _exit(kNoGroup);
  const char byte = 'r';
  if (write(ready_fd, &byte, 1) != 1) _exit(kNoGroup);
  if (rank != kVictim) survive(*group, scene);
  while (true) pause();
}

void kill_one_of(const Scene& scene) {
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const UniqueFd ready_read(ready[0]);
  UniqueFd ready_write(ready[1]);
  pid_t children[kSize];
  {
    Sockets sockets = connect_all(scene.tcp);
    for (int rank = 0; rank < kSize; ++rank) {
      children[rank] = fork();
      ASSERT_GE(children[rank], 0);
      if (children[rank] == 0) run_rank(rank, scene, std::move(sockets), ready[1]);
    }
  }
  ready_write = UniqueFd();
  char byte = 0;
  for (int rank = 0; rank < kSize; ++rank) EXPECT_EQ(read(ready_read.get(), &byte, 1), 1);
  ASSERT_EQ(kill(children[kVictim], SIGKILL), 0);
  for (int rank = 0; rank < kSize; ++rank) {
    int status = 0;
    ASSERT_EQ(waitpid(children[rank], &status, 0), children[rank]);
    if (rank == kVictim) continue;
    ASSERT_TRUE(WIFEXITED(status)) << "rank " << rank;
    EXPECT_EQ(WEXITSTATUS(status), kSawDeath) << "rank " << rank;
  }
}

class DeathOfARank : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Links, DeathOfARank, ::testing::Bool(),
                         [](const auto& test) { return test.param ? "Tcp" : "Shm"; });

TEST_P(DeathOfARank, EndsTheSumOfThoseWhoSpin) { kill_one_of({.tcp = GetParam()}); }
TEST_P(DeathOfARank, EndsTheSumOfThoseWhoSleep) { kill_one_of({.tcp = GetParam(), .spin = false}); }
TEST_P(DeathOfARank, EndsWaitsForOthers) { kill_one_of({.tcp = GetParam(), .in_a_ring = true}); }
TEST_P(DeathOfARank, EndsTheSleepOfWhoWaitsForOthers) {
  kill_one_of({.tcp = GetParam(), .spin = false, .in_a_ring = true});
}

}  // namespace
}  // namespace cohort::transport
