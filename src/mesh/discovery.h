// Finds the devices of the local network: sends beacons on every interface and hears those of others. Loop thread only.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <boost/asio/ip/udp.hpp>

#include "mesh/beacon.h"
#include "mesh/interfaces.h"
#include "net/task.h"

namespace cohort::mesh {

struct DiscoveryEvents {
  // With every beacon of our cluster; `is_new`: of a device, or a run of it, not heard of before.
  std::function<void(const Beacon& beacon, const address& from, bool is_new)> heard;
  std::function<void(const address& from, const Error& why)> refused;
};

class Discovery {
 public:
  static constexpr std::chrono::milliseconds kHaste{100};  // between beacons of the first second
  static constexpr std::chrono::milliseconds kHasteFor{1'000};
  static constexpr std::chrono::milliseconds kCalm{1'500};  // and later
  static constexpr size_t kMaxKnown = 4096;

  struct Options {
    Beacon ours;
    uint16_t port = 0;
  };
  // Both references outlive it.
  Discovery(net::Executor executor, const GroupKeys& keys, Options options, DiscoveryEvents events);
  Discovery(const Discovery&) = delete;
  Discovery& operator=(const Discovery&) = delete;

  // With one IP version at least; else kUnavailable.
  Result<void> start(const std::vector<Interface>& interfaces);
  void interfaces_changed(const std::vector<Interface>& interfaces);
  net::Task<void> close();

 private:
  using udp = boost::asio::ip::udp;

  Result<udp::socket> open_socket(const udp& protocol);
  void join(const Interface& interface, bool v6);
  void send_everywhere();
  net::Task<void> announce();
  net::Task<void> hear(udp::socket& socket);
  void take(std::string_view bytes, const address& from);

  net::Executor executor_;
  const GroupKeys& keys_;
  const Options options_;
  const std::string bytes_;  // our beacon
  DiscoveryEvents events_;
  std::vector<Interface> interfaces_;
  std::optional<udp::socket> v4_, v6_;
  std::set<std::pair<unsigned, bool>> joined_;  // interface, IPv6
  std::map<std::string, uint64_t> known_;       // ids and their boots
  net::TimePoint hasty_until_;
  bool asked_ = false;  // somebody new wants to hear us
  net::Notification wake_;
  net::TaskGroup tasks_;
};

}  // namespace cohort::mesh
