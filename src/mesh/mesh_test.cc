#include "mesh/mesh.h"

#include <gtest/gtest.h>

#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "mesh/testing/devices.h"

namespace cohort::mesh {
namespace {

using testing::close_all;
using testing::Device;
using testing::free_port;
using testing::get;
using testing::run_for;
using testing::run_until;

MeshOptions joining(const std::vector<const Device*>& others, std::string name = "other") {
  MeshOptions options = Device::options(std::move(name));
  for (const Device* other : others) options.peers.push_back(other->place());
  return options;
}

TEST(Mesh, TwoDevicesJoinAndTellWhoTheyAre) {
  net::Loop loop(1);
  MeshOptions first = Device::options("first", 17);
  first.secret = "a b c";
  Device a(loop, first);
  MeshOptions second = joining({&a}, "second");
  second.secret = "a b c";
  Device b(loop, second);
  ASSERT_TRUE(run_until(loop, [&] { return a.linked_with(b) && b.linked_with(a); }));
  const Peer* peer = b.mesh->find(a.id());
  EXPECT_EQ(peer->name, "first");
  EXPECT_EQ(peer->boot_unix_ms, 17u);
  EXPECT_EQ(peer->mesh_port, a.mesh->port());
  EXPECT_EQ(peer->address, "127.0.0.1");
  EXPECT_EQ(a.mesh->peers().size(), 1u);
  close_all(loop, {&a, &b});
}

TEST(Mesh, MessagesArriveInOrderAndWhole) {
  net::Loop loop(1);
  Device a(loop, Device::options());
  Device b(loop, joining({&a}));
  ASSERT_TRUE(run_until(loop, [&] { return a.linked_with(b) && b.linked_with(a); }));
  const std::string large(kMaxMessageBytes, 'x');
  EXPECT_TRUE(a.mesh->send(b.id(), "one"));
  EXPECT_TRUE(a.mesh->send(b.id(), large));
  EXPECT_TRUE(a.mesh->send(b.id(), ""));
  EXPECT_FALSE(a.mesh->send(b.id(), large + "x"));
  EXPECT_FALSE(a.mesh->send("nobody", "two"));
  ASSERT_TRUE(run_until(loop, [&] { return b.messages.size() == 3; }));
  EXPECT_EQ(b.messages[0], std::make_pair(a.id(), std::string("one")));
  EXPECT_EQ(b.messages[1].second, large);
  EXPECT_EQ(b.messages[2].second, "");
  close_all(loop, {&a, &b});
}

TEST(Mesh, ADeviceThatLeavesIsReportedAndComesBackUnderANewBoot) {
  net::Loop loop(1);
  Device a(loop, Device::options());
  MeshOptions options = joining({&a});
  auto b = std::make_unique<Device>(loop, options);
  const std::string id = b->id();
  ASSERT_TRUE(run_until(loop, [&] { return a.linked_with(*b) && b->linked_with(a); }));
  close_all(loop, {b.get()});
  ASSERT_TRUE(run_until(loop, [&] { return a.downs == std::vector<std::string>{id}; }));
  EXPECT_EQ(a.whys.front(), "it left");
  options.boot_unix_ms = 2;
  b = std::make_unique<Device>(loop, options);
  ASSERT_TRUE(run_until(loop, [&] { return a.linked_with(*b); }));
  EXPECT_EQ(a.mesh->find(id)->boot_unix_ms, 2u);
  close_all(loop, {&a, b.get()});
}

TEST(Mesh, SimultaneousDialsLeaveExactlyOneLink) {
  net::Loop loop(1);
  MeshOptions first = Device::options("first"), second = Device::options("second");
  first.port = free_port();
  second.port = free_port();
  first.peers = {fmt::format("127.0.0.1:{}", second.port)};
  second.peers = {fmt::format("127.0.0.1:{}", first.port)};
  Device a(loop, first), b(loop, second);
  ASSERT_TRUE(run_until(loop, [&] { return a.linked_with(b) && b.linked_with(a); }));
  EXPECT_TRUE(a.mesh->send(b.id(), "ping"));
  EXPECT_TRUE(b.mesh->send(a.id(), "pong"));
  ASSERT_TRUE(run_until(loop, [&] { return !a.messages.empty() && !b.messages.empty(); }));
  EXPECT_EQ(a.ups.size(), 1u);
  EXPECT_EQ(b.ups.size(), 1u);
  EXPECT_TRUE(a.downs.empty() && b.downs.empty());
  close_all(loop, {&a, &b});
}

TEST(Mesh, ThreeDevicesFormAFullMesh) {
  net::Loop loop(1);
  Device a(loop, Device::options());
  Device b(loop, joining({&a}));
  Device c(loop, joining({&a, &b}));
  ASSERT_TRUE(run_until(loop, [&] {
    return a.mesh->peers().size() == 2 && b.mesh->peers().size() == 2 &&
           c.mesh->peers().size() == 2;
  }));
  close_all(loop, {&a, &b, &c});
}

MeshOptions shouting(uint16_t beacon_port, std::string name) {
  MeshOptions options = Device::options(std::move(name));
  options.host = "";
  options.beacons = true;
  options.beacon_port = beacon_port;
  return options;
}

TEST(Mesh, DevicesFindEachOtherByBeacons) {
  net::Loop loop(1);
  const uint16_t port = free_port();
  Device a(loop, shouting(port, "first")), b(loop, shouting(port, "second"));
  ASSERT_TRUE(run_until(loop, [&] { return a.linked_with(b) && b.linked_with(a); }));
  Device c(loop, shouting(port, "third"));  // comes later
  ASSERT_TRUE(run_until(loop, [&] { return a.linked_with(c) && c.linked_with(b); }));
  close_all(loop, {&a, &b, &c});
}

TEST(Mesh, APortThatIsTakenGivesTheNextFreeOne) {
  net::Loop loop(1);
  MeshOptions options = Device::options();
  options.port = free_port();
  Device first(loop, options), second(loop, options);
  EXPECT_EQ(first.mesh->port(), options.port);
  EXPECT_GT(second.mesh->port(), options.port);
  close_all(loop, {&first, &second});
}

TEST(Mesh, ADeviceDoesNotLinkWithItselfNorWithACopyOfIt) {
  net::Loop loop(1);
  MeshOptions options = Device::options();
  options.port = free_port();
  options.peers = {fmt::format("127.0.0.1:{}", options.port)};
  Device itself(loop, options);
  options.boot_unix_ms = 2;
  Device copy(loop, options);
  EXPECT_FALSE(run_for(loop, std::chrono::milliseconds(500),
                       [&] { return !itself.ups.empty() || !copy.ups.empty(); }));
  close_all(loop, {&itself, &copy});
}

TEST(Mesh, NamesAreResolvedAndTriedUntilSomebodyAnswers) {
  net::Loop loop(1);
  MeshOptions late = Device::options("late");
  late.port = free_port();
  MeshOptions options = Device::options("early");
  options.peers = {fmt::format("localhost:{}", late.port)};
  Device early(loop, options);
  run_for(loop, std::chrono::milliseconds(300), [] { return false; });
  Device other(loop, late);
  EXPECT_TRUE(
      run_until(loop, [&] { return early.linked_with(other) && other.linked_with(early); }));
  close_all(loop, {&early, &other});
}

TEST(Mesh, RemembersItsPeers) {
  net::Loop loop(1);
  const ::testing::TestInfo& test = *::testing::UnitTest::GetInstance()->current_test_info();
  const std::string folder = ::testing::TempDir() + test.name() + std::to_string(::getpid());
  Device a(loop, Device::options());
  MeshOptions options = joining({&a});
  options.data_dir = folder;
  auto b = std::make_unique<Device>(loop, options);
  ASSERT_TRUE(run_until(loop, [&] { return a.linked_with(*b) && b->linked_with(a); }));
  close_all(loop, {b.get()});
  options.peers.clear();
  b = std::make_unique<Device>(loop, options);
  EXPECT_TRUE(run_until(loop, [&] { return b->linked_with(a); }));
  close_all(loop, {&a, b.get()});
  std::filesystem::remove_all(folder);
}

net::TimePoint soon() { return net::Clock::now() + std::chrono::seconds(20); }
net::TimePoint at_once() { return net::Clock::now(); }

class TwoDevices : public ::testing::Test {
 protected:
  TwoDevices() : a(loop, Device::options()), b(loop, joining({&a})) {
    EXPECT_TRUE(run_until(loop, [&] { return a.linked_with(b) && b.linked_with(a); }));
  }
  ~TwoDevices() override { close_all(loop, {&a, &b}); }

  // A's end of a new stream; B's is the last of b.streams.
  std::unique_ptr<Stream> open(const std::string& purpose = "test") {
    auto stream = get(loop, a.mesh->open_stream(b.id(), purpose, soon()));
    EXPECT_TRUE(stream.has_value());
    const size_t before = b.streams.size();
    EXPECT_TRUE(run_until(loop, [&] { return b.streams.size() > before; }));
    return std::move(*stream);
  }

  net::Loop loop{1};
  Device a, b;
};

TEST_F(TwoDevices, BothEndsLearnWhatTheirPathCarries) {
  ASSERT_TRUE(run_until(loop, [&] { return !a.measured.empty() && !b.measured.empty(); }));
  const LinkStatus here = a.mesh->links().at(0), there = b.mesh->links().at(0);
  EXPECT_EQ(here.peer, b.id());
  EXPECT_EQ(here.kind, "loopback");
  EXPECT_GT(here.round_trip_p50_s, 0);
  EXPECT_LT(here.round_trip_p50_s, 1);
  EXPECT_GE(here.round_trip_p99_s, here.round_trip_p50_s);
  EXPECT_GT(here.message_s, 0);
  EXPECT_LT(here.message_s, 1);
  EXPECT_GT(here.bytes_per_s, 1e6);
  EXPECT_EQ(here.round_trip_p50_s, there.round_trip_p50_s);
  EXPECT_EQ(here.message_s, there.message_s);
  EXPECT_EQ(here.bytes_per_s, there.bytes_per_s);
  fmt::print("round trip {:.1f} us, 99% {:.1f} us, message {:.1f} us, {:.2f} GB/s\n",
             here.round_trip_p50_s * 1e6, here.round_trip_p99_s * 1e6, here.message_s * 1e6,
             here.bytes_per_s / 1e9);
}

TEST_F(TwoDevices, NothingIsMeasuredWhileEitherEndIsBusy) {
  b.busy = true;
  EXPECT_FALSE(run_for(loop, std::chrono::milliseconds(1500), [&] { return !a.measured.empty(); }));
  b.busy = false;
  EXPECT_TRUE(run_until(loop, [&] { return !a.measured.empty() && !b.measured.empty(); }));
}

TEST_F(TwoDevices, AStreamCarriesMessagesBothWays) {
  const auto here = open("call");
  Stream& there = *b.streams.back();
  EXPECT_EQ(there.purpose(), "call");
  EXPECT_EQ(there.peer(), a.id());
  EXPECT_TRUE(get(loop, here->write("question", soon())));
  EXPECT_TRUE(get(loop, here->write("", soon())));
  EXPECT_EQ(get(loop, there.read(soon())).value(), "question");
  EXPECT_EQ(get(loop, there.read(soon())).value(), "");
  EXPECT_TRUE(get(loop, there.write("answer", soon())));
  there.close();
  EXPECT_EQ(get(loop, here->read(soon())).value(), "answer");
  EXPECT_EQ(get(loop, here->read(soon())).value(), std::nullopt);
  EXPECT_EQ(get(loop, here->write("late", soon())).error().code, Code::kUnavailable);
}

TEST_F(TwoDevices, AWriterWaitsForASlowReaderAndOtherStreamsDoNot) {
  const auto slow = open();
  const auto quick = open();
  const std::string chunk(256 << 10, 'x');
  size_t written = 0;
  while (get(loop, slow->write(chunk, net::Clock::now() + std::chrono::milliseconds(200))))
    ++written;
  EXPECT_EQ(written, Stream::kWindowBytes / chunk.size() - 1);  // headers cost as well
  EXPECT_TRUE(get(loop, quick->write("quick", soon())));
  EXPECT_EQ(get(loop, b.streams[1]->read(soon())).value(), "quick");
  EXPECT_TRUE(a.mesh->send(b.id(), "control"));
  EXPECT_TRUE(run_until(loop, [&] { return b.messages.size() == 1; }));
}

net::Task<void> write_one(Stream& stream, std::string message, Result<void>& written) {
  written = co_await stream.write(std::move(message), soon());
}

TEST_F(TwoDevices, AMessageLargerThanTheWindowPasses) {
  const auto here = open();
  std::string message(20 << 20, '\0');
  for (size_t i = 0; i < message.size(); ++i) message[i] = static_cast<char>(i * 31 >> 7);
  net::TaskGroup tasks(loop.get_executor());
  Result<void> written = fail(Code::kInternal, "not yet");
  tasks.spawn(write_one(*here, message, written));
  const auto got = get(loop, b.streams.back()->read(soon()));
  ASSERT_TRUE(got && *got);
  EXPECT_TRUE(**got == message);
  EXPECT_TRUE(run_until(loop, [&] { return tasks.size() == 0; }));
  EXPECT_TRUE(written);
  const std::string too_large(Stream::kMaxMessageBytes + 1, 'x');
  EXPECT_EQ(get(loop, here->write(too_large, soon())).error().code, Code::kTooLarge);
}

TEST_F(TwoDevices, ADroppedStreamFailsThePeersRead) {
  auto here = open();
  EXPECT_EQ(get(loop, b.streams.back()->read(at_once())).error().code, Code::kTimeout);
  here.reset();
  EXPECT_EQ(get(loop, b.streams.back()->read(soon())).error().code, Code::kUnavailable);
}

TEST_F(TwoDevices, StreamsEndWithTheLinkAndOutliveIt) {
  const auto here = open();
  EXPECT_TRUE(get(loop, here->write("before", soon())));
  EXPECT_TRUE(a.mesh->send(b.id(), "sync"));
  EXPECT_TRUE(run_until(loop, [&] { return b.messages.size() == 1; }));
  close_all(loop, {&a});
  EXPECT_TRUE(run_until(loop, [&] { return !b.downs.empty(); }));
  EXPECT_EQ(get(loop, b.streams.back()->read(soon())).value(), "before");
  EXPECT_EQ(get(loop, b.streams.back()->read(soon())).error().code, Code::kUnavailable);
  EXPECT_EQ(get(loop, here->write("after", soon())).error().code, Code::kUnavailable);
  EXPECT_FALSE(get(loop, b.mesh->open_stream(a.id(), "none", at_once())));
}

}  // namespace
}  // namespace cohort::mesh
