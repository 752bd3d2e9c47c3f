// Which links there are: few among many, others when a stream needs them, and a better path when it appears.
#include <gtest/gtest.h>

#include <algorithm>

#include "mesh/testing/devices.h"

namespace cohort::mesh {
namespace {

using std::chrono::milliseconds;
using testing::close_all;
using testing::Device;
using testing::get;
using testing::run_for;
using testing::run_until;

net::TimePoint soon() { return net::Clock::now() + std::chrono::seconds(20); }

// Devices that link with the next and the one after on a ring, and close what they need no more at once.
class ManyDevices : public ::testing::Test {
 protected:
  static constexpr size_t kCount = 40;

  ManyDevices() {
    for (size_t i = 0; i < kCount; ++i) {
      MeshOptions options = Device::options(std::to_string(i));
      options.unneeded_for = milliseconds(300);
      devices.push_back(std::make_unique<Device>(loop, std::move(options)));
    }
    for (size_t i = 0; i < kCount; ++i) {
      devices[i]->dispensable = [this, i](const std::set<std::string>&) { return far_from(i); };
    }
    for (size_t i = 0; i < kCount; ++i) introduce(i, (i + 1) % kCount);
    for (size_t i = 0; i < kCount; ++i) introduce(i, (i + 2) % kCount);
  }
  ~ManyDevices() override {
    std::vector<Device*> all;
    for (const auto& device : devices) all.push_back(device.get());
    close_all(loop, all);
  }

  void introduce(size_t from, size_t to) {
    devices[from]->mesh->introduce(devices[to]->id(), {"127.0.0.1"}, devices[to]->mesh->port());
  }
  std::set<std::string> far_from(size_t index) const {
    std::set<std::string> far;
    for (size_t away = 3; away <= kCount - 3; ++away)
      far.insert(devices[(index + away) % kCount]->id());
    return far;
  }
  bool is_ring() const {
    return std::all_of(devices.begin(), devices.end(),
                       [](const auto& device) { return device->mesh->peers().size() == 4; });
  }

  net::Loop loop{1};
  std::vector<std::unique_ptr<Device>> devices;
};

TEST_F(ManyDevices, HoldTheLinksTheyNeedAndMakeOthersForStreams) {
  ASSERT_TRUE(run_until(loop, [&] { return is_ring(); }));
  Device &here = *devices[0], &there = *devices[20];
  EXPECT_EQ(get(loop, here.mesh->open_stream(there.id(), "far", soon())).error().code,
            Code::kUnavailable)
      << "nobody knows where it is";
  introduce(0, 20);
  EXPECT_EQ(here.mesh->address_of(there.id()), "127.0.0.1");
  EXPECT_FALSE(run_for(loop, milliseconds(300), [&] { return here.linked_with(there); }));
  auto stream = get(loop, here.mesh->open_stream(there.id(), "far", soon()));
  ASSERT_TRUE(stream);
  EXPECT_TRUE(get(loop, (*stream)->write("hello", soon())));
  ASSERT_TRUE(run_until(loop, [&] { return !there.streams.empty(); }));
  EXPECT_EQ(get(loop, there.streams[0]->read(soon())).value(), "hello");
  EXPECT_FALSE(run_for(loop, milliseconds(1000), [&] { return !here.linked_with(there); }))
      << "a stream keeps its link";

  stream->reset();
  there.streams.clear();
  ASSERT_TRUE(run_until(loop, [&] { return is_ring(); }));
  EXPECT_EQ(here.closed, std::vector<std::string>{there.id()});
  EXPECT_EQ(there.closed, std::vector<std::string>{here.id()});
  EXPECT_TRUE(here.downs.empty() && there.downs.empty()) << "that is no loss";
}

TEST_F(ManyDevices, DoNotCloseALinkThatTheOtherEndNeeds) {
  ASSERT_TRUE(run_until(loop, [&] { return is_ring(); }));
  devices[20]->dispensable = [](const auto&) { return std::set<std::string>(); };
  introduce(20, 0);
  ASSERT_TRUE(run_until(loop, [&] { return devices[20]->linked_with(*devices[0]); }));
  EXPECT_FALSE(
      run_for(loop, milliseconds(1000), [&] { return !devices[20]->linked_with(*devices[0]); }));
}

// From a cable to the loopback interface, which comes before all others.
TEST(BetterPath, IsTakenAndTheStreamsOfTheOldOneEndInPeace) {
  net::Loop loop(1);
  std::vector<std::unique_ptr<Device>> devices;
  for (int i = 0; i < 2; ++i) {
    MeshOptions options = Device::options(std::to_string(i));
    options.host = "";
    devices.push_back(std::make_unique<Device>(loop, std::move(options)));
  }
  std::sort(devices.begin(), devices.end(),
            [](const auto& a, const auto& b) { return a->id() < b->id(); });
  Device &a = *devices[0], &b = *devices[1];
  std::vector<std::string> addresses;
  for (const OwnAddress& own : a.mesh->addresses()) addresses.push_back(own.address);
  a.mesh->introduce(b.id(), addresses, b.mesh->port());
  if (addresses.empty()) {
    close_all(loop, {&a, &b});
    GTEST_SKIP() << "this machine has no interface but loopback";
  }
  ASSERT_TRUE(run_until(loop, [&] { return a.linked_with(b) && b.linked_with(a); }));
  auto stream = get(loop, a.mesh->open_stream(b.id(), "old", soon()));
  ASSERT_TRUE(stream);
  ASSERT_TRUE(run_until(loop, [&] { return !b.streams.empty(); }));
  a.mesh->introduce(b.id(), {"127.0.0.1"}, b.mesh->port());
  ASSERT_TRUE(run_until(loop, [&] { return a.ups.size() == 2 && b.ups.size() == 2; }));
  EXPECT_TRUE(get(loop, (*stream)->write("still here", soon())));
  EXPECT_EQ(get(loop, b.streams[0]->read(soon())).value(), "still here");
  auto newer = get(loop, a.mesh->open_stream(b.id(), "new", soon()));
  ASSERT_TRUE(newer);
  ASSERT_TRUE(run_until(loop, [&] { return b.streams.size() == 2; }));
  (*stream)->close();
  EXPECT_EQ(get(loop, b.streams[0]->read(soon())).value(), std::nullopt);
  stream->reset();
  b.streams.erase(b.streams.begin());
  EXPECT_FALSE(run_for(loop, milliseconds(1500), [&] { return !a.downs.empty(); }));
  EXPECT_TRUE(a.downs.empty() && b.downs.empty());
  EXPECT_TRUE(get(loop, (*newer)->write("over the new one", soon())));
  EXPECT_EQ(get(loop, b.streams[0]->read(soon())).value(), "over the new one");
  close_all(loop, {&a, &b});
}

}  // namespace
}  // namespace cohort::mesh
