// Peers that lie, stall, flood, replay or vanish, against a device that has a good link as well.
#include <gtest/gtest.h>

#include <boost/asio/connect.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>

#include "base/bytes.h"
#include "mesh/frame.h"
#include "mesh/handshake.h"
#include "mesh/testing/devices.h"

namespace cohort::mesh {
namespace {

using std::chrono::milliseconds;
using testing::close_all;
using testing::Device;
using testing::run;
using testing::run_for;
using testing::run_until;

constexpr char kSecret[] = "correct horse";

MeshOptions with_secret(std::vector<std::string> peers = {}) {
  MeshOptions options = Device::options();
  options.secret = kSecret;
  options.peers = std::move(peers);
  return options;
}

// A connection that says what it is told, and notices when the other side closes.
class RawPeer {
 public:
  RawPeer(net::Loop& loop, uint16_t port) : loop_(loop), socket_(loop) {
    socket_.connect({asio::ip::make_address("127.0.0.1"), port});
    socket_.async_read_some(asio::buffer(seen_->byte), [seen = seen_](auto error, size_t) {
      seen->closed = static_cast<bool>(error);
      seen->answered = !error;
    });
  }
  void send(std::string_view bytes) {
    boost::system::error_code ignored;
    asio::write(socket_, asio::buffer(bytes), ignored);
  }
  bool is_dropped() {
    return run_until(loop_, [this] { return seen_->closed || seen_->answered; }) && seen_->closed;
  }

 private:
  struct Seen {
    std::array<char, 1> byte;
    bool closed = false, answered = false;
  };
  net::Loop& loop_;
  tcp::socket socket_;
  std::shared_ptr<Seen> seen_ = std::make_shared<Seen>();  // the read may end after us
};

class Hostile : public ::testing::Test {
 protected:
  Hostile() : a(loop, with_secret()), friendly(loop, with_secret({a.place()})) {
    EXPECT_TRUE(
        run_until(loop, [&] { return a.linked_with(friendly) && friendly.linked_with(a); }));
  }
  ~Hostile() override {
    EXPECT_TRUE(a.mesh->send(friendly.id(), "still here"));
    EXPECT_TRUE(run_until(loop, [&] { return !friendly.messages.empty(); }));
    EXPECT_EQ(friendly.ups.size(), 1u);  // it was never disturbed
    close_all(loop, {&a, &friendly});
  }

  void never_joins(MeshOptions options) {
    options.peers = {a.place()};
    Device stranger(loop, std::move(options));
    EXPECT_FALSE(run_for(loop, milliseconds(700),
                         [&] { return !stranger.ups.empty() || a.ups.size() > 1; }));
    close_all(loop, {&stranger});
  }

  net::Loop loop{1};
  Device a, friendly;
};

TEST_F(Hostile, AnotherSecretNeverJoins) {
  MeshOptions options = Device::options();
  options.secret = "another";
  never_joins(options);
}

TEST_F(Hostile, NoSecretNeverJoins) { never_joins(Device::options()); }

TEST_F(Hostile, AnotherNamespaceNeverJoins) {
  MeshOptions options = with_secret();
  options.cluster_namespace = "other";
  never_joins(options);
}

TEST_F(Hostile, GarbageIsDropped) {
  RawPeer early(loop, a.mesh->port());
  early.send("GET / HTTP/1.1\r\n\r\n");
  EXPECT_TRUE(early.is_dropped());
  RawPeer late(loop, a.mesh->port());
  late.send(std::string(kLinkPreamble) + "this is no TLS record at all........");
  run_for(loop, milliseconds(100), [] { return false; });  // it may get an alert before the end
  RawPeer probe(loop, a.mesh->port());
  probe.send(std::string(kProbePreamble) + std::string(16, 'x'));
  EXPECT_TRUE(probe.is_dropped());
}

TEST_F(Hostile, APeerThatSaysNothingIsDroppedAfterAWhile) {
  RawPeer silent(loop, a.mesh->port());
  RawPeer half(loop, a.mesh->port());
  half.send(kLinkPreamble.substr(0, 3));
  EXPECT_TRUE(silent.is_dropped());
  EXPECT_TRUE(half.is_dropped());
}

TEST_F(Hostile, AFloodOfConnectionsIsBounded) {
  std::vector<std::unique_ptr<RawPeer>> peers;
  for (int i = 0; i < 100; ++i) peers.push_back(std::make_unique<RawPeer>(loop, a.mesh->port()));
  EXPECT_TRUE(peers.back()->is_dropped());
}

// Holds the secret and a key of its own, and then does as it likes.
class Insider {
 public:
  explicit Insider(net::Loop& loop)
      : identity(*Identity::load_or_create("")),
        contexts(derive_group_keys("default", kSecret)),
        socket(loop, contexts.of(Role::kDialer)),
        hello{.id = identity.id(),
              .public_key = to_hex(identity.public_key()),
              .cluster_namespace = "default",
              .mesh_port = 1} {}

  net::Task<void> join(uint16_t port) {
    socket.next_layer().connect({asio::ip::make_address("127.0.0.1"), port});
    asio::write(socket.next_layer(), asio::buffer(kLinkPreamble.data(), kLinkPreamble.size()));
    HandshakeOptions options = {
        .role = Role::kDialer, .identity = identity, .hello = hello, .admit = [](const Hello&) {
          return Result<void>();
        }};
    peer = co_await shake_hands(socket, std::move(options));
  }
  net::Task<void> send(std::string bytes) {
    const auto buffer = asio::buffer(bytes);
    co_await asio::async_write(socket, buffer, net::kAsTuple);
  }

  Identity identity;
  SecureContexts contexts;
  SecureSocket socket;
  Hello hello;
  Result<Hello> peer = fail(Code::kInternal, "not yet");
};

TEST_F(Hostile, AnImposterWithAnothersIdIsRefused) {
  Insider insider(loop);
  insider.hello.id = friendly.id();
  run(loop, insider.join(a.mesh->port()));
  EXPECT_FALSE(insider.peer);
  Insider better(loop);
  better.hello.id = friendly.id();
  better.hello.public_key = insider.hello.public_key;
  run(loop, better.join(a.mesh->port()));
  EXPECT_FALSE(better.peer);
  EXPECT_EQ(a.ups.size(), 1u);
}

TEST_F(Hostile, AVersionThatWeDoNotSpeakIsRefusedWithTheReason) {
  Insider insider(loop);
  insider.hello.min_version = insider.hello.max_version = 99;
  run(loop, insider.join(a.mesh->port()));
  ASSERT_FALSE(insider.peer);
  EXPECT_EQ(insider.peer.error().code, Code::kUnsupported);
  EXPECT_NE(insider.peer.error().message.find("99"), std::string::npos);
}

TEST_F(Hostile, ANewerReleaseThatStillSpeaksOursJoins) {
  Insider insider(loop);
  insider.hello.max_version = 99;
  run(loop, insider.join(a.mesh->port()));
  EXPECT_TRUE(insider.peer);
  EXPECT_TRUE(run_until(loop, [&] { return a.ups.size() == 2; }));
}

class HostileFrames : public Hostile, public ::testing::WithParamInterface<std::string> {};

TEST_P(HostileFrames, EndTheLink) {
  Insider insider(loop);
  run(loop, insider.join(a.mesh->port()));
  ASSERT_TRUE(run_until(loop, [&] { return a.ups.size() == 2; }));
  run(loop, insider.send(GetParam()));
  EXPECT_TRUE(run_until(loop, [&] { return a.downs.size() == 1; }));
  EXPECT_EQ(a.whys.at(0).substr(0, 21), "it broke the protocol");
}

std::string frames(const std::vector<Frame>& list) {
  std::string bytes;
  for (const Frame& frame : list) append_frame(bytes, frame);
  return bytes;
}

std::string overrun() {
  const std::string payload(kMaxPayloadBytes, 'x');
  std::vector<Frame> list = {{.type = FrameType::kStreamOpen, .stream = 1, .payload = "x"}};
  for (size_t sent = 0; sent <= Stream::kWindowBytes; sent += payload.size())
    list.push_back({.type = FrameType::kStreamData, .stream = 1, .payload = payload});
  return frames(list);
}

std::string endless_message() {
  const std::string payload(kMaxPayloadBytes, 'x');
  return frames(std::vector<Frame>(kMaxMessageBytes / kMaxPayloadBytes + 1,
                                   {.type = FrameType::kMessage, .payload = payload}));
}

const Frame kOpen = {.type = FrameType::kStreamOpen, .stream = 1, .payload = "x"};

INSTANTIATE_TEST_SUITE_P(
    All, HostileFrames,
    ::testing::Values(
        std::string("\xff\xff\xff\xff\x03\0\0\0\0\0\0\0", 12),
        std::string("\0\0\0\0\x63\0\0\0\0\0\0\0", 12), overrun(), endless_message(),
        frames({kOpen, kOpen}),
        frames({{.type = FrameType::kStreamOpen, .stream = 2, .payload = "x"}}),
        frames(
            {{.type = FrameType::kStreamOpen,
              .stream = 1,
              .payload = std::string_view(
                  "a purpose that is longer than any purpose of a stream could ever have to be")}}),
        frames({{.type = FrameType::kStreamData, .stream = 5, .payload = "x"}}),
        frames({kOpen, {.type = FrameType::kStreamCredit, .stream = 1, .payload = "\1\0\0"}}),
        frames({kOpen, {.type = FrameType::kStreamCredit, .stream = 1, .payload = "abcd"}}),
        frames({kOpen,
                {.type = FrameType::kStreamClose, .stream = 1},
                {.type = FrameType::kStreamData, .stream = 1, .payload = "x"}})));

TEST_F(Hostile, StreamsBeyondTheLimitAreResetOneByOne) {
  Insider insider(loop);
  run(loop, insider.join(a.mesh->port()));
  std::vector<Frame> list;
  for (uint32_t i = 0; i < 600; ++i)
    list.push_back({.type = FrameType::kStreamOpen, .stream = 2 * i + 1, .payload = "x"});
  run(loop, insider.send(frames(list)));
  EXPECT_TRUE(run_until(loop, [&] { return a.streams.size() == 512; }));
  EXPECT_TRUE(a.downs.empty());
  a.streams.clear();
}

// Passes bytes between a dialer and a device, keeps what the dialer said, and falls silent when told to.
class Relay {
 public:
  Relay(net::Loop& loop, uint16_t to)
      : acceptor_(loop, {asio::ip::make_address("127.0.0.1"), 0}),
        to_(to),
        tasks_(loop.get_executor()) {
    tasks_.spawn(serve());
  }
  std::string place() const {
    return fmt::format("127.0.0.1:{}", acceptor_.local_endpoint().port());
  }
  void cut() { silent_ = true; }
  void end(net::Loop& loop) { run(loop, tasks_.close()); }
  const std::string& said() const { return said_; }

 private:
  net::Task<void> serve() {
    for (;;) {
      auto [error, socket] = co_await acceptor_.async_accept(net::kAsTuple);
      if (error) co_return;
      if (!silent_) tasks_.spawn(carry(std::move(socket)));
    }
  }
  net::Task<void> carry(tcp::socket dialer) {
    tcp::socket device(dialer.get_executor());
    device.connect({asio::ip::make_address("127.0.0.1"), to_});
    net::TaskGroup back(dialer.get_executor());
    back.spawn(pump(device, dialer, nullptr));
    co_await pump(dialer, device, &said_);
    co_await back.close();
  }
  net::Task<void> pump(tcp::socket& from, tcp::socket& to, std::string* kept) {
    std::array<char, 16384> bytes;
    for (;;) {
      const auto space = asio::buffer(bytes);
      const auto [error, size] = co_await from.async_read_some(space, net::kAsTuple);
      if (error) co_return;
      if (silent_) continue;
      if (kept != nullptr) kept->append(bytes.data(), size);
      const auto buffer = asio::buffer(bytes.data(), size);
      co_await asio::async_write(to, buffer, net::kAsTuple);
    }
  }

  tcp::acceptor acceptor_;
  uint16_t to_;
  bool silent_ = false;
  std::string said_;
  net::TaskGroup tasks_;
};

TEST(Relayed, APeerThatFallsSilentIsReportedByBothEnds) {
  net::Loop loop(1);
  Device a(loop, with_secret());
  Relay relay(loop, a.mesh->port());
  Device b(loop, with_secret({relay.place()}));
  ASSERT_TRUE(run_until(loop, [&] { return a.linked_with(b) && b.linked_with(a); }));
  relay.cut();
  ASSERT_TRUE(run_until(loop, [&] { return a.downs.size() == 1 && b.downs.size() == 1; }));
  EXPECT_NE(a.whys[0].find("nothing was heard"), std::string::npos);
  close_all(loop, {&a, &b});
  relay.end(loop);
}

TEST(Relayed, AReplayedConversationIsRefused) {
  net::Loop loop(1);
  Device a(loop, with_secret());
  Relay relay(loop, a.mesh->port());
  Device b(loop, with_secret({relay.place()}));
  ASSERT_TRUE(run_until(loop, [&] { return a.linked_with(b) && b.linked_with(a); }));
  EXPECT_TRUE(b.mesh->send(a.id(), "once"));
  ASSERT_TRUE(run_until(loop, [&] { return a.messages.size() == 1; }));
  close_all(loop, {&b});
  ASSERT_TRUE(run_until(loop, [&] { return a.downs.size() == 1; }));
  RawPeer replayer(loop, a.mesh->port());
  replayer.send(relay.said());
  EXPECT_FALSE(
      run_for(loop, milliseconds(500), [&] { return a.ups.size() > 1 || a.messages.size() > 1; }));
  close_all(loop, {&a});
  relay.end(loop);
}

}  // namespace
}  // namespace cohort::mesh
