// Both ends of a measurement, in one process over a pair of sockets.
#include "mesh/path_probe.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <future>
#include <limits>

#include "base/bytes.h"

namespace cohort::mesh {
namespace {

using Ping64 = std::array<char, 64>;

class PathProbe : public ::testing::Test {
 protected:
  PathProbe() {
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends_.data()), 0);
    for (const int end : ends_) ::fcntl(end, F_SETFL, ::fcntl(end, F_GETFL) | O_NONBLOCK);
  }
  ~PathProbe() override {
    for (const int end : ends_) ::close(end);
  }

  std::future<Result<PathFigures>> probe(size_t end, ProbeRole role) {
    const auto deadline = net::Clock::now() + std::chrono::seconds(30);
    return std::async(std::launch::async, probe_path, ends_[end], role, deadline);
  }

  // By an end that is no ProbeSocket: blocks.
  void send(const Ping64& ping) {
    make_blocking();
    EXPECT_EQ(::send(ends_[1], ping.data(), ping.size(), MSG_NOSIGNAL), ssize_t{64});
  }
  Ping64 receive() {
    make_blocking();
    Ping64 ping{};
    EXPECT_EQ(::recv(ends_[1], ping.data(), ping.size(), MSG_WAITALL), ssize_t{64});
    return ping;
  }

  std::array<int, 2> ends_{};

 private:
  void make_blocking() { ::fcntl(ends_[1], F_SETFL, ::fcntl(ends_[1], F_GETFL) & ~O_NONBLOCK); }
};

TEST_F(PathProbe, BothEndsComeToTheSameFigures) {
  auto second = probe(1, ProbeRole::kSecond);
  const Result<PathFigures> here = probe(0, ProbeRole::kFirst).get(), there = second.get();
  ASSERT_TRUE(here.has_value()) << here.error().message;
  ASSERT_TRUE(there.has_value()) << there.error().message;
  EXPECT_GT(here->message_s, 0);
  EXPECT_EQ(here->message_s, there->message_s);
  EXPECT_EQ(here->round_trip_p50_s, there->round_trip_p50_s);
  EXPECT_EQ(here->bytes_per_s, there->bytes_per_s);
}

TEST_F(PathProbe, AnEndThatOnlyEchoesIsNotAskedForMessages) {
  auto first = probe(0, ProbeRole::kFirst);
  Ping64 ping = receive();
  while (ping[0] == 0) {
    send(ping);
    ping = receive();
  }
  EXPECT_GT(load<double>(ping.data() + 8), 0) << "a round trip";
  EXPECT_EQ(load<double>(ping.data() + 24), 0) << "a message";
  ::shutdown(ends_[1], SHUT_RDWR);
  EXPECT_EQ(first.get().error().code, Code::kUnavailable);
}

TEST_F(PathProbe, FiguresThatMakeNoSenseAreRefused) {
  const double endless = std::numeric_limits<double>::infinity();
  for (const auto& figures :
       {std::array{1e-3, 2e-3, -1.0}, {1e-3, 2e-3, endless}, {0.0, 1e-3, 0.0}}) {
    auto second = probe(0, ProbeRole::kSecond);
    Ping64 last{};
    last[0] = 1;
    store(last.data() + 8, figures);
    send(last);
    EXPECT_EQ(second.get().error().code, Code::kInvalidArgument);
  }
}

}  // namespace
}  // namespace cohort::mesh
