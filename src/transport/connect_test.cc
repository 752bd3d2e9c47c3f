// Ranks that find each other over loopback, with strangers at the door.
#include "transport/connect.h"

#include <gtest/gtest.h>

#include <thread>

#include "transport/group.h"
#include "transport/tcp.h"
#include "transport/testing/ranks.h"

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

class Meeting {
 public:
  explicit Meeting(int ranks) : results_(static_cast<size_t>(ranks)) {
    for (int r = 0; r < ranks; ++r) doors_.push_back(open_door());
    for (const Door& door : doors_) ports_.push_back(door.port);
  }

  uint16_t port(int rank) const { return ports_[static_cast<size_t>(rank)]; }

  void connect(int rank, ConnectOptions options) {
    std::vector<RankPeer> peers;
    for (int r = 0; r < static_cast<int>(ports_.size()); ++r) {
      // Both families reach the same listener.
      if (r != rank) peers.push_back({r, {r % 2 == 0 ? "127.0.0.1" : host_, port(r)}, "device"});
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

  Result<Links>& result(int rank) { return *results_[static_cast<size_t>(rank)]; }

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
    Meeting meeting(ranks);
    meeting.connect_all(sealed());
    meeting.expect_sums();
  }
}

TEST(ConnectRanks, StrangersAtThePortDisturbNobody) {
  Meeting meeting(3);
  const SocketAddress door{"127.0.0.1", meeting.port(2)};
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
  meeting.connect_all(sealed());
  meeting.expect_sums();
}

TEST(ConnectRanks, WhoDoesNotComeIsNamed) {
  Meeting meeting(2);
  ConnectOptions options = sealed();
  options.deadline = Deadline::after(std::chrono::milliseconds(50));
  meeting.connect(1, options);
  ASSERT_FALSE(meeting.result(1));
  EXPECT_EQ(meeting.result(1).error().code, Code::kTimeout);
  EXPECT_NE(meeting.result(1).error().message.find("rank 0 (device)"), std::string::npos);
  options.deadline = Deadline::after(std::chrono::milliseconds(50));
  meeting.connect(0, options);
  ASSERT_FALSE(meeting.result(0));
  EXPECT_NE(meeting.result(0).error().message.find("rank 1 (device)"), std::string::npos)
      << meeting.result(0).error().message;
}

TEST(ConnectRanks, AGroupWithNothingToSayNoticesThatAPeerIsGone) {
  Meeting meeting(2);
  meeting.connect_all(sealed());
  auto group = make_group(0, std::move(*meeting.result(0)));
  EXPECT_TRUE(group->check());
  meeting.result(1)->front()->abort("tired");
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
