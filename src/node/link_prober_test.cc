// Two devices with RDMA ports, as they say, and runners that only pretend to measure.
#include "node/link_prober.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/log.h"
#include "mesh/testing/devices.h"

namespace cohort::node {
namespace {

using mesh::testing::Device;
using mesh::testing::run_until;

class End {
 public:
  End(net::Loop& loop, Device& device, const cluster::Devices& devices,
      std::vector<std::string> runner)
      : device_(device) {
    LinkProber::Surroundings around{.runner_command = std::move(runner), .own_id = device.id()};
    around.limit = std::chrono::hours(1);  // what ends before was ended
    around.devices = [&devices]() -> const cluster::Devices& { return devices; };
    around.busy = [this] {
      ++asked;
      return busy;
    };
    around.changed = [this] { ++changes; };
    prober = std::make_unique<LinkProber>(loop.get_executor(), *device.mesh, std::move(around));
  }

  void take_streams() {
    for (auto& stream : device_.streams) prober->accept(std::move(stream));
    device_.streams.clear();
  }

  int asked = 0, changes = 0;
  bool busy = false;
  std::unique_ptr<LinkProber> prober;

 private:
  Device& device_;
};

class LinkProberTest : public ::testing::Test {
 protected:
  void start(std::vector<std::string> words = {}) {
    log::configure(log::Level::kOff, log::Format::kText, "test");
    mesh::MeshOptions options = Device::options("b");
    options.peers.push_back(a_.place());
    b_.emplace(loop_, options);
    ASSERT_TRUE(run_until(loop_, [&] { return a_.linked_with(*b_) && b_->linked_with(a_); }));
    for (Device* device : {&a_, &*b_}) {
      cluster::DeviceDocument document{.id = device->id(), .name = device->id()};
      document.rdma.ports.push_back({.device = "x", .state = "active", .address = "10.0.0.1"});
      devices_[device->id()] = document;
    }
    words.insert(words.begin(), COHORT_FAKE_RUNNER);
    const bool a_begins = a_.id() < b_->id();
    first_.emplace(loop_, a_begins ? a_ : *b_, devices_, words);
    second_.emplace(loop_, a_begins ? *b_ : a_, devices_, words);
  }

  bool until(const std::function<bool()>& done) {
    return run_until(loop_, [&] {
      second_->take_streams();
      return done();
    });
  }

  cluster::LinkDocument link(const End& from) const {
    const bool from_a = (&from == &*first_) == (a_.id() < b_->id());
    cluster::LinkDocument document{.peer = from_a ? b_->id() : a_.id()};
    from.prober->describe(document);
    return document;
  }

  void TearDown() override {
    mesh::testing::run(loop_, first_->prober->close());
    mesh::testing::run(loop_, second_->prober->close());
    mesh::testing::close_all(loop_, {&a_, &*b_});
  }

  net::Loop loop_{1};
  cluster::Devices devices_;
  Device a_{loop_, Device::options("a")};
  std::optional<Device> b_;
  std::optional<End> first_, second_;  // the one that begins, and the other
};

TEST_F(LinkProberTest, NothingIsMeasuredWhileEitherDeviceHasSomethingElseToDo) {
  start();
  second_->busy = true;
  const int before = second_->asked;
  // It looks by itself, too; each refusal is a question more.
  ASSERT_TRUE(until([&] { return second_->asked > before + 3; }));
  EXPECT_EQ(first_->changes + second_->changes, 0);
  second_->busy = false;
  ASSERT_TRUE(until([&] { return link(*first_).ways.size() == kProbedTransports.size(); }));
  EXPECT_TRUE(until([&] { return link(*second_).ways.size() == kProbedTransports.size(); }));
}

// Ends the connections that lead to a device as a pulled cable would.
void cut_links_to(const Device& device) {
  constexpr int kDescriptors = 1024;
  int cut = 0;
  for (int fd = 0; fd < kDescriptors; ++fd) {
    sockaddr_in there{};
    socklen_t size = sizeof(there);
    const bool is_link = getpeername(fd, reinterpret_cast<sockaddr*>(&there), &size) == 0 &&
                         there.sin_family == AF_INET &&
                         ntohs(there.sin_port) == device.mesh->port();
    if (is_link && shutdown(fd, SHUT_RDWR) == 0) ++cut;
  }
  EXPECT_GT(cut, 0);
}

class LinkProberDisturbed : public LinkProberTest {
 protected:
  // Has a measurement begin that does not end, and gives one of its ends something else to do.
  void disturb(std::optional<End>& end) {
    start({"stalled"});
    ASSERT_TRUE(both_measure());
    end->busy = true;
    expect_both_end();
  }

  bool both_measure() {
    return until([&] { return first_->prober->is_measuring() && second_->prober->is_measuring(); });
  }

  void expect_both_end() {
    ASSERT_TRUE(
        until([&] { return !first_->prober->is_measuring() && !second_->prober->is_measuring(); }));
    for (const End* end : {&*first_, &*second_}) {
      EXPECT_TRUE(link(*end).missing_ways.empty());
      EXPECT_EQ(end->changes, 0);
    }
  }
};

TEST_F(LinkProberDisturbed, WhoBeganBreaksOffAndKeepsNothing) { disturb(first_); }
TEST_F(LinkProberDisturbed, WhoTakesPartBreaksOffAndKeepsNothing) { disturb(second_); }
TEST_F(LinkProberDisturbed, ALinkLostMeanwhileEndsItForBothAndIsNoFinding) {
  start({"stalled"});
  ASSERT_TRUE(both_measure());
  mesh::testing::close_all(loop_, {&a_});
  expect_both_end();
}

TEST_F(LinkProberDisturbed, APairWhoseLinkWasLostIsMeasuredAgainOnceItIsBack) {
  start({"stalled"});
  ASSERT_TRUE(both_measure());
  cut_links_to(a_);  // whom the other dials, and will again
  expect_both_end();
  EXPECT_FALSE(a_.downs.empty());
  ASSERT_TRUE(until([&] { return a_.linked_with(*b_) && b_->linked_with(a_); }));
  EXPECT_TRUE(both_measure());
}

TEST_F(LinkProberTest, WhatWasFoundHoldsAsLongAsThePortsAreTheSame) {
  start();
  ASSERT_TRUE(until([&] { return link(*first_).ways.size() == kProbedTransports.size(); }));
  devices_.at(a_.id()).rdma.ports[0].state = "down";
  EXPECT_TRUE(link(*first_).ways.empty());
  devices_.at(a_.id()).rdma.ports[0].state = "active";
  EXPECT_FALSE(link(*first_).ways.empty());
  devices_.at(a_.id()).rdma.ports[0].address = "10.0.0.2";
  EXPECT_TRUE(link(*first_).ways.empty()) << "to be measured again";
}

}  // namespace
}  // namespace cohort::node
