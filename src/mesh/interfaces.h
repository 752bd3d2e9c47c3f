// The network interfaces of this device.
#pragma once

#include <string>
#include <vector>

#include <boost/asio/ip/address.hpp>

namespace cohort::mesh {

using boost::asio::ip::address;

struct InterfaceAddress {
  address ip;
  int prefix_bits = 0;
  bool operator==(const InterfaceAddress&) const = default;
};

struct Interface {
  std::string name;
  unsigned index = 0;
  bool loopback = false;
  std::vector<InterfaceAddress> addresses;
  bool operator==(const Interface&) const = default;
};

// Those that are up and have an address, in the system's order.
std::vector<Interface> list_interfaces();

// "ethernet", "wifi", "thunderbolt", "loopback" or "other".
std::string interface_kind(const Interface& interface);

address without_mapping(const address& ip);  // ::ffff:10.0.0.1 is 10.0.0.1

// The interface whose own address `local` is; null when there is none.
const Interface* interface_with(const std::vector<Interface>& interfaces, const address& local);

// The interface that reaches `peer` without a router: loopback, link-local, or in the subnet of one of its addresses.
const Interface* interface_towards(const std::vector<Interface>& interfaces, const address& peer);

}  // namespace cohort::mesh
