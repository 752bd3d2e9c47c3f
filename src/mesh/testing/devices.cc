#include "mesh/testing/devices.h"

#include <algorithm>

#include <boost/asio/ip/tcp.hpp>

#include "base/check.h"

namespace cohort::mesh::testing {
namespace {

constexpr std::chrono::milliseconds kPatience{30'000};

}  // namespace

MeshOptions Device::options(std::string name, uint64_t boot) {
  auto identity = Identity::load_or_create("");
  COHORT_CHECK(identity.has_value());
  return {.identity = *identity,
          .name = std::move(name),
          .host = "127.0.0.1",
          .port = 0,
          .beacons = false,
          .boot_unix_ms = boot};
}

Device::Device(net::Loop& loop, MeshOptions options) {
  MeshEvents events = {
      .link_up = [this](const Peer& peer) { ups.push_back(peer.id); },
      .link_lost =
          [this](const std::string& peer, const std::string& why) {
            downs.push_back(peer);
            whys.push_back(why);
          },
      .link_closed = [this](const std::string& peer) { closed.push_back(peer); },
      .message = [this](const std::string& peer,
                        std::string message) { messages.emplace_back(peer, std::move(message)); },
      .stream = [this](std::unique_ptr<Stream> stream) { streams.push_back(std::move(stream)); },
      .measured = [this](const std::string& peer) { measured.push_back(peer); },
      .busy = [this] { return busy; },
      .dispensable = [this](const std::set<std::string>& heard) { return dispensable(heard); }};
  auto made = Mesh::create(loop.get_executor(), std::move(options), std::move(events));
  COHORT_CHECK(made.has_value());
  mesh = std::move(*made);
}

uint16_t free_port() {
  net::Loop loop(1);
  using boost::asio::ip::tcp;
  static std::vector<uint16_t> given;  // by the kernel it might be given twice
  for (;;) {
    const uint16_t port = tcp::acceptor(loop, tcp::endpoint(tcp::v6(), 0)).local_endpoint().port();
    if (std::find(given.begin(), given.end(), port) != given.end()) continue;
    return given.emplace_back(port);
  }
}

bool run_for(net::Loop& loop, std::chrono::milliseconds time, const std::function<bool()>& done) {
  const net::TimePoint deadline = net::Clock::now() + time;
  while (!done()) {
    if (net::Clock::now() > deadline) return false;
    loop.restart();
    loop.run_one_for(std::chrono::milliseconds(50));
  }
  return true;
}

bool run_until(net::Loop& loop, const std::function<bool()>& done) {
  return run_for(loop, kPatience, done);
}

void run(net::Loop& loop, net::Task<void> task) {
  net::TaskGroup group(loop.get_executor());
  group.spawn(std::move(task));
  COHORT_CHECK(run_until(loop, [&] { return group.size() == 0; }));
}

namespace {

net::Task<void> close_one(Device* device) { co_await device->mesh->close(); }

}  // namespace

void close_all(net::Loop& loop, std::vector<Device*> devices) {
  net::TaskGroup group(loop.get_executor());
  for (Device* device : devices) group.spawn(close_one(device));
  COHORT_CHECK(run_until(loop, [&] { return group.size() == 0; }));
  for (Device* device : devices) device->streams.clear();
}

}  // namespace cohort::mesh::testing
