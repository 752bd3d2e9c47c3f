#include "mesh/discovery.h"

#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <random>
#include <utility>

#include <boost/asio/ip/multicast.hpp>
#include <boost/asio/ip/v6_only.hpp>

#include "base/log.h"

namespace cohort::mesh {
namespace {

namespace asio = boost::asio;
using asio::ip::udp;
using boost::system::error_code;
using net::Clock;

constexpr std::chrono::milliseconds kAnswerPause{20};  // at least, between two beacons
constexpr std::chrono::milliseconds kErrorPause{200};

const address& group(bool v6) {
  static const address groups[] = {asio::ip::make_address("239.255.77.77"),
                                   asio::ip::make_address("ff02::4d4d")};
  return groups[v6 ? 1 : 0];
}

const address* address_of(const Interface& interface, bool v6) {
  for (const InterfaceAddress& own : interface.addresses) {
    if (own.ip.is_v6() == v6) return &own.ip;
  }
  return nullptr;
}

bool has_address(const Interface& interface, bool v6) {
  return address_of(interface, v6) != nullptr;
}

// The interface has an address of that version.
bool send_from(udp::socket& socket, const Interface& interface, bool v6) {
  if (v6) {
    const unsigned index = interface.index;
    return ::setsockopt(socket.native_handle(), IPPROTO_IPV6, IPV6_MULTICAST_IF, &index,
                        sizeof index) == 0;
  }
  ip_mreqn request = {};
  request.imr_ifindex = static_cast<int>(interface.index);
  // The source, too: without a route to the group the system would write 0.0.0.0.
  request.imr_address.s_addr = htonl(address_of(interface, false)->to_v4().to_uint());
  return ::setsockopt(socket.native_handle(), IPPROTO_IP, IP_MULTICAST_IF, &request,
                      sizeof request) == 0;
}

std::chrono::milliseconds about(std::chrono::milliseconds wait) {
  static thread_local std::minstd_rand random{std::random_device{}()};
  return wait * std::uniform_int_distribution<int>(90, 110)(random) / 100;
}

}  // namespace

Discovery::Discovery(net::Executor executor, const GroupKeys& keys, Options options,
                     DiscoveryEvents events)
    : executor_(executor),
      keys_(keys),
      options_(std::move(options)),
      bytes_(encode_beacon(options_.ours, keys)),
      events_(std::move(events)),
      wake_(executor),
      tasks_(executor) {}

Result<udp::socket> Discovery::open_socket(const udp& protocol) {
  udp::socket socket(executor_);
  const bool v6 = protocol == udp::v6();
  error_code error;
  socket.open(protocol, error);
  if (!error) socket.set_option(asio::socket_base::reuse_address(true), error);
  const int on = 1;
  ::setsockopt(socket.native_handle(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
  if (!error && v6) socket.set_option(asio::ip::v6_only(true), error);
  if (!error) socket.bind({protocol, options_.port}, error);
  if (!error) socket.set_option(asio::ip::multicast::enable_loopback(true), error);
  if (!error) socket.set_option(asio::ip::multicast::hops(1), error);
  if (!error) socket.non_blocking(true, error);
  if (error) return fail(Code::kUnavailable, "UDP port {}: {}", options_.port, error.message());
  return socket;
}

Result<void> Discovery::start(const std::vector<Interface>& interfaces) {
  auto v4 = open_socket(udp::v4());
  auto v6 = open_socket(udp::v6());
  if (!v4 && !v6) return tl::unexpected(v4.error());
  if (v4) tasks_.spawn(hear(v4_.emplace(std::move(*v4))));
  if (v6) tasks_.spawn(hear(v6_.emplace(std::move(*v6))));
  interfaces_changed(interfaces);
  tasks_.spawn(announce());
  return {};
}

net::Task<void> Discovery::close() {
  error_code ignored;
  if (v4_) v4_->close(ignored);
  if (v6_) v6_->close(ignored);
  co_await tasks_.close();
}

void Discovery::interfaces_changed(const std::vector<Interface>& interfaces) {
  interfaces_ = interfaces;
  std::erase_if(joined_, [&](const auto& entry) {
    return std::none_of(interfaces.begin(), interfaces.end(),
                        [&](const Interface& interface) { return interface.index == entry.first; });
  });
  for (const Interface& interface : interfaces_) {
    if (v4_ && has_address(interface, false)) join(interface, false);
    if (v6_ && has_address(interface, true)) join(interface, true);
  }
  hasty_until_ = Clock::now() + kHasteFor;
  wake_.notify_all();
}

void Discovery::join(const Interface& interface, bool v6) {
  if (!joined_.emplace(interface.index, v6).second) return;
  error_code error;
  if (v6) {
    v6_->set_option(asio::ip::multicast::join_group(group(true).to_v6(), interface.index), error);
  } else {
    ip_mreqn request = {};
    request.imr_multiaddr.s_addr = htonl(group(false).to_v4().to_uint());
    request.imr_ifindex = static_cast<int>(interface.index);
    if (::setsockopt(v4_->native_handle(), IPPROTO_IP, IP_ADD_MEMBERSHIP, &request,
                     sizeof request) != 0)
      error = error_code(errno, boost::system::system_category());
  }
  if (error && error != asio::error::address_in_use)
    log::debug("no beacons on {}: {}", interface.name, error.message());
}

void Discovery::send_everywhere() {
  for (const Interface& interface : interfaces_) {
    for (const bool v6 : {false, true}) {
      auto& socket = v6 ? v6_ : v4_;
      if (!socket || !has_address(interface, v6) || !send_from(*socket, interface, v6)) continue;
      error_code ignored;  // a network may refuse multicast; others will not
      socket->send_to(asio::buffer(bytes_), {group(v6), options_.port}, 0, ignored);
    }
  }
}

net::Task<void> Discovery::announce() {
  for (;;) {
    asked_ = false;
    send_everywhere();
    if (co_await net::sleep_until(Clock::now() + kAnswerPause) == net::Wake::kCancelled) co_return;
    if (asked_) continue;
    const bool hasty = Clock::now() < hasty_until_;
    const auto next = Clock::now() + (hasty ? kHaste - kAnswerPause : about(kCalm));
    if (co_await wake_.wait(next) == net::Wake::kCancelled) co_return;
  }
}

net::Task<void> Discovery::hear(udp::socket& socket) {
  std::array<char, kMaxBeaconBytes> bytes;
  udp::endpoint from;
  while (socket.is_open()) {
    const auto buffer = asio::buffer(bytes);
    const auto [error, size] = co_await socket.async_receive_from(buffer, from, net::kAsTuple);
    if (!error) {
      take({bytes.data(), size}, from.address());
    } else if (error == asio::error::operation_aborted ||
               co_await net::sleep_until(Clock::now() + kErrorPause) == net::Wake::kCancelled) {
      co_return;
    }
  }
}

void Discovery::take(std::string_view bytes, const address& from) {
  const auto beacon = decode_beacon(bytes, keys_);
  if (!beacon) return events_.refused(from, beacon.error());
  if (beacon->id == options_.ours.id) return;
  if (known_.size() >= kMaxKnown) known_.clear();
  const auto [entry, added] = known_.emplace(beacon->id, beacon->boot_unix_ms);
  const bool is_new =
      added || std::exchange(entry->second, beacon->boot_unix_ms) != beacon->boot_unix_ms;
  events_.heard(*beacon, from, is_new);
  if (!is_new) return;
  asked_ = true;
  wake_.notify_all();
}

}  // namespace cohort::mesh
