// Ranks that find each other over loopback, with strangers at the door.
#include "transport/connect.h"

#include <gtest/gtest.h>

#include <functional>
#include <thread>

#include "transport/group.h"
#include "transport/shm.h"
#include "transport/tcp.h"
#include "transport/testing/ranks.h"
#include "transport/transports.h"

namespace cohort::transport {
namespace {

using Links = std::vector<std::unique_ptr<Link>>;

struct Door {
  UniqueFd listener;
  uint16_t port = 0;
};

Door open_door() {
  Door door{.listener = listen_anywhere().value()};
  door.port = local_address(door.listener)->port;
  return door;
}

class Crowd {
 public:
  explicit Crowd(int ranks) : results_(static_cast<size_t>(ranks)) {
    for (int r = 0; r < ranks; ++r) doors_.push_back(open_door());
    for (const Door& door : doors_) ports_.push_back(door.port);
  }

  uint16_t port(int rank) const { return ports_[static_cast<size_t>(rank)]; }

  void connect(int rank, ConnectOptions options) {
    std::vector<RankPeer> peers;
    for (int r = 0; r < static_cast<int>(ports_.size()); ++r) {
      // Both families reach the same listener.
      if (r != rank) peers.push_back({r, {r % 2 == 0 ? "127.0.0.1" : host_, port(r)}, "device"});
      const bool is_first_pair = r + rank == 1 && r != rank;
      if (is_first_pair) peers.back().first = first_pair_first;
    }
    options.rank = rank;
    results_[static_cast<size_t>(rank)] =
        connect_ranks(std::move(doors_[static_cast<size_t>(rank)].listener), peers, options);
  }

  void connect_all(const ConnectOptions& options) {
    std::vector<std::jthread> threads;
    for (int r = 0; r < static_cast<int>(ports_.size()); ++r) {
      threads.emplace_back([this, r, options] { connect(r, options); });
    }
  }

  std::string first_pair_first;  // what ranks 0 and 1 are to try before all else

  Result<Links>& result(int rank) { return *results_[static_cast<size_t>(rank)]; }

  // Of the link from one rank to another.
  std::string_view transport(int from, int to) {
    const auto& links = result(from);
    EXPECT_TRUE(links) << links.error().message;
    return links ? (*links)[static_cast<size_t>(to)]->transport() : "none";
  }

  void expect_sums() {
    std::vector<std::jthread> threads;
    const auto ranks = static_cast<int>(ports_.size());
    for (int r = 0; r < ranks; ++r) {
      ASSERT_TRUE(result(r)) << result(r).error().message;
      threads.emplace_back([this, r, ranks] {
        const auto group = make_group(r, std::move(*result(r)));
        float value = 1;
        EXPECT_TRUE(group->all_sum({&value, 1}, testing::soon()));
        EXPECT_EQ(value, static_cast<float>(ranks));
      });
    }
  }

 private:
  std::string host_ =
      connect_tcp({"::1", open_door().port}, Deadline::after({})) ? "::1" : "127.0.0.1";
  std::vector<Door> doors_;
  std::vector<uint16_t> ports_;
  std::vector<std::optional<Result<Links>>> results_;
};

ConnectOptions sealed() {
  LinkKey key{};
  key[3] = std::byte{7};
  return {.instance = 42, .secret = key, .deadline = testing::soon()};
}

TEST(ConnectRanks, AllMeetWhateverTheirNumber) {
  for (const int ranks : {1, 2, 5}) {
    Crowd crowd(ranks);
    crowd.connect_all(sealed());
    crowd.expect_sums();
  }
}

TEST(ConnectRanks, OnOneHostTheyChangeOverToSharedMemoryUnlessTcpIsWished) {
  for (const std::string wish : {"auto", "shm", "tcp"}) {
    for (const bool is_sealed : {true, false}) {
      Crowd crowd(3);
      ConnectOptions options = sealed();
      options.transport = wish;
      if (!is_sealed) options.secret.reset();
      crowd.connect_all(options);
      for (int a = 0; a < 3; ++a) {
        for (int b = 0; b < 3; ++b) {
          if (a == b) continue;
          EXPECT_EQ(crowd.transport(a, b), wish == "tcp" ? "tcp" : "shm");
        }
      }
      crowd.expect_sums();
    }
  }
}

TEST(ConnectRanks, APairTriesWhatItIsToldFirstAndTcpEndsTheSearch) {
  for (const std::string first : {"tcp", "shm", "verbs"}) {
    Crowd crowd(3);
    crowd.first_pair_first = first;
    crowd.connect_all(sealed());
    EXPECT_EQ(crowd.transport(0, 1), first == "tcp" ? "tcp" : "shm");
    EXPECT_EQ(crowd.transport(1, 0), crowd.transport(0, 1));
    EXPECT_EQ(crowd.transport(0, 2), "shm");
    EXPECT_EQ(crowd.transport(2, 1), "shm");
    crowd.expect_sums();
  }
}

// Rank 2 stands for one on another host: it offers nothing that needs the same one.
void connect_with_a_distant_rank(Crowd& crowd, const std::string& wish) {
  std::vector<std::jthread> threads;
  for (int r = 0; r < 3; ++r) {
    ConnectOptions options = sealed();
    options.transport = r == 2 ? "tcp" : wish;
    threads.emplace_back([&crowd, r, options] { crowd.connect(r, options); });
  }
}

TEST(ConnectRanks, SomePairsShareMemoryWhileOthersUseTcp) {
  Crowd crowd(3);
  connect_with_a_distant_rank(crowd, "auto");
  EXPECT_EQ(crowd.transport(0, 1), "shm");
  EXPECT_EQ(crowd.transport(1, 0), "shm");
  EXPECT_EQ(crowd.transport(0, 2), "tcp");
  EXPECT_EQ(crowd.transport(2, 1), "tcp");
  crowd.expect_sums();
}

TEST(ConnectRanks, AWishThatAPairCannotHonourIsRefusedAndNamesIt) {
  Crowd crowd(3);
  connect_with_a_distant_rank(crowd, "shm");
  for (const int r : {0, 1}) {
    ASSERT_FALSE(crowd.result(r));
    EXPECT_EQ(crowd.result(r).error().code, Code::kInvalidArgument);
    const std::string& message = crowd.result(r).error().message;
    EXPECT_EQ(message.rfind("rank 2 (device): not linked by shm", 0), 0u) << message;
  }
}

// Two ends that have met over TCP and both offer shared memory; one settles, the other does what the test says.
class Settling {
 public:
  Settling() {
    auto sockets = tcp_pair().value();
    std::jthread other([&] { theirs_ = meet(std::move(sockets.second), their_handshake_); });
    ours_ = meet(std::move(sockets.first), our_handshake_);
  }

  Result<std::unique_ptr<Link>> settle(const std::function<void(Meeting&)>& they_do) {
    Meeting meeting(std::move(theirs_.link), their_handshake_, /*dialled=*/true);
    std::jthread other([&] { they_do(meeting); });
    return settle_link(std::move(ours_), our_handshake_, {}, /*dialled=*/false);
  }

 private:
  static HandshakeOptions options(int rank) {
    return {.rank = rank,
            .peer_rank = 1 - rank,
            .secret = sealed().secret,
            .offers = offers_for({}),
            .deadline = testing::soon()};
  }
  static OpenedLink meet(UniqueFd socket, const HandshakeOptions& handshake) {
    return open_tcp_link_to_any(std::move(socket), handshake, [](int) { return "rank 1"; }).value();
  }

  HandshakeOptions our_handshake_ = options(1), their_handshake_ = options(0);
  OpenedLink ours_, theirs_;
};

TEST(SettleLink, WhoDoesNotReachOurLocalSocketIsOnAnotherHost) {
  const auto link = Settling().settle([](Meeting& they) {
    EXPECT_FALSE(they.hear()->empty());
    EXPECT_TRUE(they.tell(""));
    EXPECT_EQ(they.hear(), "not on the same host");
    EXPECT_TRUE(they.tell("not on the same host"));
  });
  ASSERT_TRUE(link) << link.error().message;
  EXPECT_EQ((*link)->transport(), "tcp");
}

TEST(SettleLink, AStrangerAtTheLocalSocketIsTurnedAwayAndThePeerTaken) {
  std::unique_ptr<Link> theirs;
  const auto link = Settling().settle([&](Meeting& they) {
    const std::string name = *they.hear();
    const UniqueFd rude = connect_local(name).value();
    EXPECT_TRUE(write_fully(rude, std::vector<std::byte>(256), testing::soon()));
    UniqueFd socket = connect_local(name).value();
    EXPECT_TRUE(they.tell("reached"));
    const auto greeting = shake_hands(socket, they.handshake());
    EXPECT_TRUE(greeting && prove_keys(socket, *greeting, testing::soon()));
    theirs = open_shm_link(std::move(socket), {.creator = true, .name = "rank 1"}).value();
    EXPECT_TRUE(they.tell(""));
    EXPECT_EQ(they.hear(), "");
  });
  ASSERT_TRUE(link) << link.error().message;
  EXPECT_EQ((*link)->transport(), "shm");
}

TEST(Transports, AWishIsOneOfTheListed) {
  for (const char* known : {"auto", "tcp", "shm"}) EXPECT_TRUE(check_transport(known)) << known;
  const auto refused = check_transport("pigeon");
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("'pigeon' is none of auto, tcp, shm"), std::string::npos)
      << refused.error().message;
}

TEST(ConnectRanks, StrangersAtThePortDisturbNobody) {
  Crowd crowd(3);
  const SocketAddress door{"127.0.0.1", crowd.port(2)};
  const UniqueFd silent = connect_tcp(door, testing::soon()).value();
  const UniqueFd rude = connect_tcp(door, testing::soon()).value();
  const std::vector<std::byte> garbage(256, std::byte{0x5a});
  ASSERT_TRUE(write_fully(rude, garbage, testing::soon()));
  const UniqueFd brief = connect_tcp(door, testing::soon()).value();
  std::jthread impostor([&] {  // knows the instance, not the secret
    auto socket = connect_tcp(door, testing::soon());
    ConnectOptions wrong = sealed();
    wrong.secret->back() = std::byte{1};
    const auto link = open_tcp_link(std::move(*socket),
                                    {.rank = 0, .instance = 42, .secret = wrong.secret}, "rank 2");
    EXPECT_FALSE(link);
  });
  std::jthread outsider([&] {  // knows the secret, but is no rank that dials
    auto socket = connect_tcp(door, testing::soon());
    (void)open_tcp_link(std::move(*socket), {.rank = 9, .instance = 42, .secret = sealed().secret},
                        "rank 2");
  });
  crowd.connect_all(sealed());
  crowd.expect_sums();
}

TEST(ConnectRanks, WhoDoesNotComeIsNamed) {
  Crowd crowd(2);
  ConnectOptions options = sealed();
  options.deadline = Deadline::after(std::chrono::milliseconds(50));
  crowd.connect(1, options);
  ASSERT_FALSE(crowd.result(1));
  EXPECT_EQ(crowd.result(1).error().code, Code::kTimeout);
  EXPECT_NE(crowd.result(1).error().message.find("rank 0 (device)"), std::string::npos);
  options.deadline = Deadline::after(std::chrono::milliseconds(50));
  crowd.connect(0, options);
  ASSERT_FALSE(crowd.result(0));
  EXPECT_NE(crowd.result(0).error().message.find("rank 1 (device)"), std::string::npos)
      << crowd.result(0).error().message;
}

TEST(ConnectRanks, AGroupWithNothingToSayNoticesThatAPeerIsGone) {
  Crowd crowd(2);
  crowd.connect_all(sealed());
  auto group = make_group(0, std::move(*crowd.result(0)));
  EXPECT_TRUE(group->check());
  crowd.result(1)->front()->abort("tired");
  Result<void> alive;
  const Deadline deadline = testing::soon();
  while ((alive = group->check()) && !deadline.passed()) {
  }
  ASSERT_FALSE(alive);
  EXPECT_NE(alive.error().message.find("rank 1 (device): gave up: tired"), std::string::npos)
      << alive.error().message;
}

}  // namespace
}  // namespace cohort::transport
