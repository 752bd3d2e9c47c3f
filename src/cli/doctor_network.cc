// Ports, interfaces, multicast and the firewall of this machine.
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>

#include "base/result.h"
#include "cli/doctor.h"
#include "mesh/interfaces.h"
#include "net/port_owner.h"

namespace cohort::cli {
namespace {

using State = Finding::State;

constexpr uint16_t kApiPort = 52415;
constexpr uint16_t kMeshPort = 52416;

class Socket {
 public:
  Socket(int domain, int type) : fd_(::socket(domain, type, 0)) {
    ::fcntl(fd_, F_SETFD, FD_CLOEXEC);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket() {
    if (fd_ >= 0) ::close(fd_);
  }
  int fd() const { return fd_; }

 private:
  int fd_;
};

// --- ports

bool is_taken(uint16_t port) {
  const Socket socket(AF_INET, SOCK_STREAM);
  const int on = 1;
  ::setsockopt(socket.fd(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{.sin_family = AF_INET, .sin_port = htons(port)};
  if (::bind(socket.fd(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    return errno == EADDRINUSE;
  return ::listen(socket.fd(), 1) != 0 && errno == EADDRINUSE;
}

Finding examine_port(const char* check, uint16_t port, bool is_device_up, const char* flag) {
  if (!is_taken(port)) return {check, State::kOk, fmt::format("{} is free", port), ""};
  const std::string owner = net::port_owner(port);
  const bool ours = owner.find("(cohort)") != std::string::npos || (is_device_up && owner.empty());
  Finding finding{check, ours ? State::kOk : State::kWarning,
                  fmt::format("{} is held by {}", port, owner.empty() ? "someone" : owner), ""};
  if (!ours) finding.remedy = fmt::format("end that program, or choose another port with {}", flag);
  return finding;
}

// --- interfaces and multicast

std::string addresses_of(const mesh::Interface& interface) {
  std::string text;
  for (const mesh::InterfaceAddress& own : interface.addresses)
    text += (text.empty() ? "" : ", ") + own.ip.to_string();
  return text;
}

const mesh::address* address_of(const mesh::Interface& interface, bool v6) {
  for (const mesh::InterfaceAddress& own : interface.addresses) {
    if (own.ip.is_v6() == v6) return &own.ip;
  }
  return nullptr;
}

// The beacons' group on a port of our own, so that no device takes the packet for a beacon.
union GroupAddress {
  sockaddr any;
  sockaddr_in v4;
  sockaddr_in6 v6;
};

bool join_v4(int fd, const mesh::Interface& interface, GroupAddress& group) {
  ip_mreqn request{};
  request.imr_ifindex = static_cast<int>(interface.index);
  request.imr_address.s_addr = htonl(address_of(interface, false)->to_v4().to_uint());
  request.imr_multiaddr.s_addr = htonl(0xefff4d4d);  // 239.255.77.77
  group.v4.sin_addr = request.imr_multiaddr;
  return ::setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &request, sizeof request) == 0 &&
         ::setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &request, sizeof request) == 0;
}

bool join_v6(int fd, const mesh::Interface& interface, GroupAddress& group) {
  constexpr in6_addr kGroup = {{{0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x4d, 0x4d}}};
  ipv6_mreq request{.ipv6mr_multiaddr = kGroup, .ipv6mr_interface = interface.index};
  group.v6.sin6_addr = kGroup;
  group.v6.sin6_scope_id = interface.index;
  return ::setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &request, sizeof request) == 0 &&
         ::setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, &interface.index,
                      sizeof interface.index) == 0;
}

// Sends a packet to the group over that interface and hears it.
bool hears_itself(const mesh::Interface& interface, bool v6) {
  constexpr int kPatienceMs = 300;
  const Socket socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM);
  GroupAddress group{};
  group.any.sa_family = v6 ? AF_INET6 : AF_INET;
  socklen_t size = v6 ? sizeof group.v6 : sizeof group.v4;
  if (::bind(socket.fd(), &group.any, size) != 0 ||
      ::getsockname(socket.fd(), &group.any, &size) != 0)
    return false;
  if (!(v6 ? join_v6(socket.fd(), interface, group) : join_v4(socket.fd(), interface, group)))
    return false;
  const char sent[] = "cohort doctor";
  if (::sendto(socket.fd(), sent, sizeof sent, 0, &group.any, size) != sizeof sent) return false;
  char heard[sizeof sent] = {};
  pollfd waiting{socket.fd(), POLLIN, 0};
  while (::poll(&waiting, 1, kPatienceMs) > 0) {
    const ssize_t count = ::recv(socket.fd(), heard, sizeof heard, 0);
    if (count == sizeof sent && std::memcmp(heard, sent, sizeof sent) == 0) return true;
  }
  return false;
}

Finding examine_multicast(const mesh::Interface& interface) {
  Finding finding{"multicast " + interface.name, State::kOk, "", ""};
  std::string works, deaf;
  for (const bool v6 : {false, true}) {
    if (address_of(interface, v6) == nullptr) continue;
    std::string& list = hears_itself(interface, v6) ? works : deaf;
    list += fmt::format("{}{}", list.empty() ? "" : " and ", v6 ? "IPv6" : "IPv4");
  }
  if (deaf.empty()) {
    finding.seen = works + ": hears itself";
    return finding;
  }
  finding.seen = fmt::format("{}: does not hear itself", deaf);
  if (!works.empty()) {
    finding.seen += ", over " + works + " it does";  // one is enough to be found
    return finding;
  }
  finding.state = interface.loopback ? State::kOk : State::kWarning;
  if (!interface.loopback)
    finding.remedy = "devices there are not found by themselves: name them with --peer HOST";
  return finding;
}

void examine_interfaces(Findings& findings) {
  const std::vector<mesh::Interface> interfaces = mesh::list_interfaces();
  for (const mesh::Interface& interface : interfaces) {
    const std::string kind = mesh::interface_kind(interface);
    findings.push_back({"interface " + interface.name, State::kOk,
                        fmt::format("{}: {}", kind, addresses_of(interface)),
                        kind == "wifi" ? "a cable between devices is many times faster" : ""});
  }
  const bool alone =
      std::all_of(interfaces.begin(), interfaces.end(),
                  [](const mesh::Interface& interface) { return interface.loopback; });
  if (alone) {
    findings.push_back({"network", State::kWarning, "no interface but loopback is up",
                        "other devices cannot be reached: plug in a cable or join a network"});
  }
  for (const mesh::Interface& interface : interfaces)
    findings.push_back(examine_multicast(interface));
}

// --- firewall

// What a command prints; nothing when it is not there or fails (some need root).
std::optional<std::string> output_of(const std::string& command) {
  constexpr size_t kMaxBytes = 1u << 20;
  std::FILE* pipe =
      ::popen(("PATH=$PATH:/usr/sbin:/sbin " + command + " 2>/dev/null").c_str(), "r");
  if (pipe == nullptr) return std::nullopt;
  std::string text;
  char buffer[4096];
  while (const size_t count = std::fread(buffer, 1, sizeof buffer, pipe)) {
    if (text.size() < kMaxBytes) text.append(buffer, count);
  }
  if (::pclose(pipe) != 0) return std::nullopt;
  return text;
}

struct Firewall {
  const char* name;
  const char* command;
  bool (*is_strict)(std::string_view rules);  // drops something that comes in
};

bool has(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

constexpr Firewall kFirewalls[] = {
    {"ufw", "ufw status", [](std::string_view rules) { return has(rules, "Status: active"); }},
    {"nftables", "nft list ruleset",
     [](std::string_view rules) {
       return has(rules, "hook input") && (has(rules, "drop") || has(rules, "reject"));
     }},
    {"iptables", "iptables -S INPUT", [](std::string_view rules) {
       return has(rules, "-P INPUT DROP") || has(rules, "-j DROP") || has(rules, "-j REJECT");
     }}};

Finding examine_firewall() {
  std::string readable;
  for (const Firewall& firewall : kFirewalls) {
    const auto rules = output_of(firewall.command);
    if (!rules) continue;
    readable += fmt::format("{}{}", readable.empty() ? "" : ", ", firewall.name);
    if (!firewall.is_strict(*rules)) continue;
    const std::string port = std::to_string(kMeshPort);
    if (has(*rules, port))
      return {"firewall", State::kOk, fmt::format("{} is active and knows {}", firewall.name, port),
              ""};
    return {"firewall", State::kWarning,
            fmt::format("{} is active and does not name port {}", firewall.name, port),
            fmt::format("let in TCP and UDP {0}, for ufw: ufw allow {0}; {1} for the API", port,
                        kApiPort)};
  }
  if (!readable.empty()) return {"firewall", State::kOk, readable + " lets everything in", ""};
  return {"firewall", State::kOk, "none that this user can read",
          ::geteuid() == 0 ? "" : "as root this check sees more"};
}

}  // namespace

void examine_network(bool is_device_up, Findings& findings) {
  findings.push_back(examine_port("api port", kApiPort, is_device_up, "--port"));
  findings.push_back(examine_port("mesh port", kMeshPort, is_device_up, "--mesh-port"));
  examine_interfaces(findings);
  findings.push_back(examine_firewall());
}

}  // namespace cohort::cli
