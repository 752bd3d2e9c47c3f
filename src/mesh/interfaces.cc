#include "mesh/interfaces.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <memory>
#include <optional>

namespace cohort::mesh {
namespace {

namespace ip = boost::asio::ip;

std::optional<address> address_of(const sockaddr* from) {
  if (from == nullptr) return std::nullopt;
  if (from->sa_family == AF_INET) {
    sockaddr_in v4;
    std::memcpy(&v4, from, sizeof v4);
    return ip::address_v4(ntohl(v4.sin_addr.s_addr));
  }
  if (from->sa_family != AF_INET6) return std::nullopt;
  sockaddr_in6 v6;
  std::memcpy(&v6, from, sizeof v6);
  ip::address_v6::bytes_type bytes;
  std::memcpy(bytes.data(), &v6.sin6_addr, bytes.size());
  return ip::address_v6(bytes, v6.sin6_scope_id);
}

int prefix_bits_of(const sockaddr* mask, const address& ip) {
  unsigned char bytes[16] = {};
  if (mask == nullptr) return ip.is_v4() ? 32 : 128;
  if (ip.is_v4()) {
    std::memcpy(bytes, reinterpret_cast<const char*>(mask) + offsetof(sockaddr_in, sin_addr), 4);
  } else {
    std::memcpy(bytes, reinterpret_cast<const char*>(mask) + offsetof(sockaddr_in6, sin6_addr), 16);
  }
  int bits = 0;
  for (const unsigned char byte : bytes) bits += std::popcount(byte);
  return bits;
}

template <class Bytes>
bool same_prefix(const Bytes& a, const Bytes& b, int bits) {
  for (size_t i = 0; i < a.size() && bits > 0; ++i, bits -= 8) {
    const int mask = bits >= 8 ? 0xff : 0xff << (8 - bits) & 0xff;
    if (((a[i] ^ b[i]) & mask) != 0) return false;
  }
  return true;
}

bool in_subnet(const InterfaceAddress& own, const address& peer) {
  if (own.ip.is_v4() != peer.is_v4()) return false;
  if (own.ip.is_v4())
    return same_prefix(own.ip.to_v4().to_bytes(), peer.to_v4().to_bytes(), own.prefix_bits);
  return same_prefix(own.ip.to_v6().to_bytes(), peer.to_v6().to_bytes(), own.prefix_bits);
}

}  // namespace

std::vector<Interface> list_interfaces() {
  ifaddrs* first = nullptr;
  if (::getifaddrs(&first) != 0) return {};
  const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> freed(first, ::freeifaddrs);
  std::vector<Interface> interfaces;
  for (const ifaddrs* entry = first; entry != nullptr; entry = entry->ifa_next) {
    const auto ip = address_of(entry->ifa_addr);
    if (!ip || (entry->ifa_flags & IFF_UP) == 0) continue;
    auto found = std::find_if(interfaces.begin(), interfaces.end(), [&](const Interface& known) {
      return known.name == entry->ifa_name;
    });
    if (found == interfaces.end()) {
      found = interfaces.insert(found, {.name = entry->ifa_name,
                                        .index = ::if_nametoindex(entry->ifa_name),
                                        .loopback = (entry->ifa_flags & IFF_LOOPBACK) != 0});
    }
    found->addresses.push_back({*ip, prefix_bits_of(entry->ifa_netmask, *ip)});
  }
  return interfaces;
}

address without_mapping(const address& ip) {
  if (!ip.is_v6() || !ip.to_v6().is_v4_mapped()) return ip;
  return ip::make_address_v4(ip::v4_mapped, ip.to_v6());
}

const Interface* interface_with(const std::vector<Interface>& interfaces, const address& local) {
  const address wanted = without_mapping(local);
  for (const Interface& interface : interfaces) {
    for (const InterfaceAddress& own : interface.addresses) {
      if (own.ip == wanted) return &interface;
    }
    if (interface.loopback && wanted.is_loopback()) return &interface;
  }
  return nullptr;
}

const Interface* interface_towards(const std::vector<Interface>& interfaces, const address& peer) {
  const address wanted = without_mapping(peer);
  const bool scoped = wanted.is_v6() && wanted.to_v6().is_link_local();
  for (const Interface& interface : interfaces) {
    if (interface.loopback && wanted.is_loopback()) return &interface;
    if (scoped && wanted.to_v6().scope_id() == interface.index) return &interface;
    const bool near = std::any_of(interface.addresses.begin(), interface.addresses.end(),
                                  [&](const auto& own) { return in_subnet(own, wanted); });
    if (near && !scoped) return &interface;
  }
  return nullptr;
}

}  // namespace cohort::mesh
