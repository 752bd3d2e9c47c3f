#include "transport/tcp.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <future>
#include <thread>

#include "transport/socket.h"

namespace cohort::transport {
namespace {

constexpr size_t kHelloBytes = 64;
constexpr size_t kProofBytes = Header::kBytes + Cipher::kTagBytes;

using Opened = Result<std::unique_ptr<Link>>;

LinkKey key_of(int seed) {
  LinkKey key{};
  key[0] = std::byte(seed);
  return key;
}

HandshakeOptions options_of(int rank, std::optional<LinkKey> secret = {}) {
  return {.rank = rank, .peer_rank = 1 - rank, .instance = 77, .secret = secret};
}

std::pair<Opened, Opened> open_both(std::pair<UniqueFd, UniqueFd> sockets,
                                    const HandshakeOptions& a, const HandshakeOptions& b) {
  auto second = std::async(std::launch::async,
                           [&] { return open_tcp_link(std::move(sockets.second), b, "rank 0"); });
  Opened first = open_tcp_link(std::move(sockets.first), a, "rank 1");
  return {std::move(first), second.get()};
}

Result<InMessage> receive(Link& link) {
  while (true) {
    Result<std::optional<InMessage>> message = link.try_receive();
    if (!message) return tl::unexpected(message.error());
    if (*message) return **message;
  }
}

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

TEST(Tcp, RanksWithDifferentSecretsRefuseEachOther) {
  const auto [a, b] =
      open_both(tcp_pair().value(), options_of(0, key_of(1)), options_of(1, key_of(2)));
  ASSERT_FALSE(a);
  ASSERT_FALSE(b);
  EXPECT_TRUE(a.error().code == Code::kUnauthorized || b.error().code == Code::kUnauthorized);
  EXPECT_NE(
      (a.error().code == Code::kUnauthorized ? a : b).error().message.find("holds another secret"),
      std::string::npos);
}

TEST(Tcp, AnEncryptedRankRefusesAPlainOne) {
  const auto [a, b] = open_both(tcp_pair().value(), options_of(0, key_of(1)), options_of(1));
  EXPECT_FALSE(a);
  EXPECT_EQ(b.error().message, "rank 0: one side wants encryption and the other does not");
}

TEST(Tcp, ARankOfAnotherInstanceOrPlaceIsRefused) {
  HandshakeOptions other = options_of(1);
  other.instance = 78;
  EXPECT_EQ(open_both(tcp_pair().value(), options_of(0), other).first.error().code,
            Code::kInvalidArgument);
  other = options_of(1);
  other.rank = 2;
  EXPECT_EQ(open_both(tcp_pair().value(), options_of(0), other).first.error().message,
            "rank 1: it says that it is rank 2");
}

TEST(Tcp, WhoSpeaksSomethingElseOrNothingIsRefused) {
  auto sockets = tcp_pair().value();
  const std::string http =
      "GET / HTTP/1.1\r\nHost: somewhere\r\nUser-Agent: a stranger passing by\r\n\r\n";
  ASSERT_TRUE(
      write_fully(sockets.second, bytes_of(http), Deadline::after(std::chrono::seconds(5))));
  EXPECT_EQ(open_tcp_link(std::move(sockets.first), options_of(0), "rank 1").error().message,
            "rank 1: what answers is not a cohort runner");

  auto silent = tcp_pair().value();
  HandshakeOptions hurried = options_of(0);
  hurried.deadline = Deadline::after(std::chrono::milliseconds(20));
  EXPECT_EQ(open_tcp_link(std::move(silent.first), hurried, "rank 1").error().code, Code::kTimeout);
}

TEST(Tcp, ConnectingToNobodyEndsAtTheDeadline) {
  auto listener = listen_tcp({}).value();
  const SocketAddress address = local_address(listener).value();
  listener = UniqueFd();
  EXPECT_EQ(connect_tcp(address, Deadline::after(std::chrono::milliseconds(30))).error().code,
            Code::kTimeout);
  EXPECT_EQ(connect_tcp({.host = "no number"}, Deadline::never()).error().code,
            Code::kInvalidArgument);
}

// A link on one end of a connection whose other end is a bare socket that has said a proper hello.
struct BarePeer {
  std::unique_ptr<Link> link;
  UniqueFd socket;
};

BarePeer meet_bare_peer() {
  auto sockets = tcp_pair().value();
  auto greeting =
      std::async(std::launch::async, [&] { return shake_hands(sockets.second, options_of(1)); });
  Opened link = open_tcp_link(std::move(sockets.first), options_of(0), "rank 1");
  EXPECT_TRUE(greeting.get());
  return {std::move(link).value(), std::move(sockets.second)};
}

TEST(Tcp, LiesAboutLengthsAndSequencesEndTheLink) {
  for (const Header& lie : {Header{.sequence = 1, .total = 4, .length = 4, .kind = Kind::kPoint},
                            Header{.total = 1 << 30, .length = 1 << 30, .kind = Kind::kPoint},
                            Header{.total = 3, .length = 4, .kind = Kind::kPoint},
                            Header{.kind = static_cast<Kind>(77)}}) {
    BarePeer peer = meet_bare_peer();
    std::array<std::byte, Header::kBytes> header;
    write_header(lie, header);
    ASSERT_TRUE(write_fully(peer.socket, header, Deadline::after(std::chrono::seconds(5))));
    EXPECT_EQ(receive(*peer.link).error().code, Code::kDataLoss);
    EXPECT_EQ(peer.link->check().error().code, Code::kDataLoss) << "and it stays failed";
  }
}

TEST(Tcp, AConnectionThatEndsWithinAMessageIsAnError) {
  BarePeer peer = meet_bare_peer();
  std::array<std::byte, Header::kBytes + 10> half{};
  write_header({.total = 100, .length = 100, .kind = Kind::kPoint},
               std::span(half).first<Header::kBytes>());
  ASSERT_TRUE(write_fully(peer.socket, half, Deadline::after(std::chrono::seconds(5))));
  peer.socket = UniqueFd();
  const Result<InMessage> message = receive(*peer.link);
  EXPECT_EQ(message.error().code, Code::kUnavailable);
  EXPECT_EQ(message.error().message, "rank 1: the connection was closed");
}

// Sits between two links and passes bytes on; from the first side to the second it may change one.
class Relay {
 public:
  explicit Relay(size_t flip_at) : flip_at_(flip_at) {
    auto left = tcp_pair().value(), right = tcp_pair().value();
    ends = {std::move(left.first), std::move(right.second)};
    thread_ =
        std::thread([this, a = std::move(left.second), b = std::move(right.first)] { run(a, b); });
  }
  ~Relay() { finish(); }

  std::pair<UniqueFd, UniqueFd> ends;

  // What came from the first end; waits until a link is gone.
  const std::vector<std::byte>& finish() {
    if (thread_.joinable()) thread_.join();
    return seen_;
  }

 private:
  void run(const UniqueFd& a, const UniqueFd& b) {
    pollfd watched[] = {{a.get(), POLLIN, 0}, {b.get(), POLLIN, 0}};
    while (poll(watched, 2, -1) > 0) {
      if (watched[0].revents != 0 && !pass(a, b, true)) return;
      if (watched[1].revents != 0 && !pass(b, a, false)) return;
    }
  }

  bool pass(const UniqueFd& from, const UniqueFd& to, bool forward) {
    std::array<std::byte, 4096> bytes;
    const ssize_t count = recv(from.get(), bytes.data(), bytes.size(), 0);
    if (count <= 0) return false;
    const auto size = static_cast<size_t>(count);
    if (forward) {
      if (flip_at_ >= seen_.size() && flip_at_ < seen_.size() + size)
        bytes[flip_at_ - seen_.size()] ^= std::byte{1};
      seen_.insert(seen_.end(), bytes.begin(), bytes.begin() + count);
    }
    return write_fully(to, std::span(bytes).first(size), Deadline::after(std::chrono::seconds(5)))
        .has_value();
  }

  size_t flip_at_;
  std::vector<std::byte> seen_;  // the thread's until it is joined
  std::thread thread_;
};

constexpr std::string_view kPrompt = "a prompt that nobody else should read";

TEST(Tcp, WhatIsSealedArrivesAndIsNotReadableOnTheWay) {
  constexpr int kMessages = 3;
  Relay relay(~size_t{0});
  {
    auto [a, b] =
        open_both(std::move(relay.ends), options_of(0, key_of(1)), options_of(1, key_of(1)));
    ASSERT_TRUE(a && b);
    for (int i = 0; i < kMessages; ++i) {
      ASSERT_TRUE((*a)->try_send({Kind::kPoint, kPrompt.size(), bytes_of(kPrompt)}).value());
      const Result<InMessage> message = receive(**b);
      ASSERT_TRUE(message) << message.error().message;
      ASSERT_TRUE(std::ranges::equal(message->payload, bytes_of(kPrompt)));
      (*b)->release();
    }
  }
  const std::vector<std::byte>& seen = relay.finish();
  EXPECT_GT(seen.size(), kHelloBytes + kMessages * kPrompt.size());
  EXPECT_TRUE(std::ranges::search(seen, bytes_of("prompt")).empty());
}

// Each byte of a sealed message is proven: header, text and tag.
TEST(Tcp, AChangedByteAnywhereIsNoticed) {
  const size_t start = kHelloBytes + kProofBytes;
  const size_t size = Header::kBytes + kPrompt.size() + Cipher::kTagBytes;
  for (size_t offset :
       {size_t{0}, size_t{8}, size_t{20}, Header::kBytes, Header::kBytes + 5, size - 1}) {
    Relay relay(start + offset);
    auto [a, b] =
        open_both(std::move(relay.ends), options_of(0, key_of(1)), options_of(1, key_of(1)));
    ASSERT_TRUE(a && b);
    ASSERT_TRUE((*a)->try_send({Kind::kPoint, kPrompt.size(), bytes_of(kPrompt)}).value());
    EXPECT_EQ(receive(**b).error().code, Code::kDataLoss) << "byte " << offset;
  }
}

TEST(Tcp, AChangedHelloFailsTheProofOfTheSecret) {
  Relay relay(40);  // in the random bytes
  auto [a, b] =
      open_both(std::move(relay.ends), options_of(0, key_of(1)), options_of(1, key_of(1)));
  EXPECT_FALSE(a);
  EXPECT_FALSE(b);
}

TEST(Cipher, KeysDifferByContextAndSecret) {
  const LinkKey one = derive_key(key_of(1), bytes_of("a")).value();
  EXPECT_EQ(one, derive_key(key_of(1), bytes_of("a")).value());
  EXPECT_NE(one, derive_key(key_of(1), bytes_of("b")).value());
  EXPECT_NE(one, derive_key(key_of(2), bytes_of("a")).value());
}

}  // namespace
}  // namespace cohort::transport
