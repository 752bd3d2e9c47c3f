#include "transport/verbs/device.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/bytes.h"
#include "transport/verbs/context.h"
#include "transport/verbs/system.h"

namespace cohort::transport {
namespace {

constexpr uint8_t kMaxPorts = 4;    // of a device
constexpr int kMaxAddresses = 256;  // of a port
constexpr std::array<uint8_t, 12> kIpv4Prefix{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool is_ipv4(const std::array<std::byte, 16>& gid) {
  return std::memcmp(gid.data(), kIpv4Prefix.data(), kIpv4Prefix.size()) == 0;
}

class DeviceList {
 public:
  explicit DeviceList(const VerbsLibrary& verbs) : verbs_(verbs) {
    devices_ = verbs.get_device_list(&count_);
  }
  ~DeviceList() {
    if (devices_ != nullptr) verbs_.free_device_list(devices_);
  }
  DeviceList(const DeviceList&) = delete;
  DeviceList& operator=(const DeviceList&) = delete;

  ibv_device* const* begin() const { return devices_; }
  ibv_device* const* end() const { return devices_ == nullptr ? nullptr : devices_ + count_; }

 private:
  const VerbsLibrary& verbs_;
  ibv_device** devices_ = nullptr;
  int count_ = 0;
};

Result<VerbsOwner<ibv_context>> open(const VerbsLibrary& verbs, ibv_device* device) {
  VerbsOwner<ibv_context> context(verbs.open_device(device), VerbsDelete{&verbs});
  if (context) return context;
  return fail(Code::kUnavailable, "RDMA device {} cannot be opened: {}",
              verbs.get_device_name(device), strerror(errno));
}

const char* state_name(ibv_port_state state) {
  switch (state) {
    case IBV_PORT_ACTIVE: return "active";
    case IBV_PORT_DOWN: return "down";
    case IBV_PORT_INIT: return "init";
    case IBV_PORT_ARMED: return "armed";
    default: return "unknown";
  }
}

// Codes of the InfiniBand specification: the speed of a lane, and the number of lanes.
double gbit_per_s(uint8_t speed, uint8_t width) {
  constexpr struct {
    uint8_t code;
    double value;
  } kSpeeds[] = {{1, 2.5}, {2, 5}, {4, 10}, {8, 10}, {16, 14}, {32, 25}, {64, 50}, {128, 100}},
    kWidths[] = {{1, 1}, {2, 4}, {4, 8}, {8, 12}, {16, 2}};
  const auto value_of = [](const auto& table, uint8_t code) {
    for (const auto& row : table) {
      if (row.code == code) return row.value;
    }
    return 0.0;
  };
  return value_of(kSpeeds, speed) * value_of(kWidths, width);
}

// The first address of IPv4 that can be routed; else the first at all.
void choose_address(const VerbsLibrary& verbs, ibv_context* context, int count, RdmaPort& port) {
  bool found_ipv4 = false;
  for (int i = 0; i < std::min(count, kMaxAddresses) && !found_ipv4; ++i) {
    ibv_gid raw{};
    if (verbs.query_gid(context, port.port, i, &raw) != 0) continue;
    std::array<std::byte, 16> gid;
    std::memcpy(gid.data(), raw.raw, gid.size());
    const bool empty = std::ranges::all_of(gid, [](std::byte b) { return b == std::byte(0); });
    if (empty || !is_routable_address(port.device, port.port, i)) continue;
    found_ipv4 = is_ipv4(gid);
    if (!found_ipv4 && (kSystemRules.needs_ipv4 || port.gid_index >= 0)) continue;
    port.gid_index = i;
    port.gid = gid;
  }
}

std::vector<RdmaPort> ports_of(const VerbsLibrary& verbs, ibv_context* context,
                               const std::string& name) {
  std::vector<RdmaPort> ports;
  for (uint8_t number = 1; number <= kMaxPorts; ++number) {
    ibv_port_attr attributes{};
    if (verbs.query_port(context, number, &attributes) != 0) break;
    RdmaPort port{
        .device = name,
        .port = number,
        .state = state_name(attributes.state),
        .fabric = attributes.link_layer == IBV_LINK_LAYER_INFINIBAND ? "infiniband" : "ethernet",
        .gbit_per_s = gbit_per_s(attributes.active_speed, attributes.active_width),
        .mtu_bytes = static_cast<uint16_t>(128u << attributes.active_mtu),
        .lid = attributes.lid};
    choose_address(verbs, context, attributes.gid_tbl_len, port);
    ports.push_back(std::move(port));
  }
  return ports;
}

std::string problem_of(const std::vector<RdmaPort>& ports) {
  if (ports.empty()) return rdma_hint(/*has_library=*/true);
  if (std::ranges::any_of(ports, &RdmaPort::usable)) return "";
  for (const RdmaPort& port : ports) {
    if (port.state == "active") {
      return fmt::format(
          "{} has no address: give its network interface one of IPv4 "
          "(169.254.x.y will do)",
          port.device);
    }
  }
  return fmt::format("no cable, or nobody at its other end: {} is {}", ports.front().device,
                     ports.front().state);
}

}  // namespace

bool RdmaPort::has_ipv4() const { return is_ipv4(gid); }

std::string RdmaPort::address() const {
  char text[INET6_ADDRSTRLEN] = "";
  if (has_ipv4()) {
    inet_ntop(AF_INET, gid.data() + 12, text, sizeof(text));
  } else {
    inet_ntop(AF_INET6, gid.data(), text, sizeof(text));
  }
  return text;
}

Result<std::vector<RdmaPort>> rdma_ports() {
  COHORT_TRY(const VerbsLibrary* verbs, verbs_library());
  std::vector<RdmaPort> ports;
  for (ibv_device* device : DeviceList(*verbs)) {
    const auto context = open(*verbs, device);
    if (!context) continue;
    for (RdmaPort& port : ports_of(*verbs, context->get(), verbs->get_device_name(device)))
      ports.push_back(std::move(port));
  }
  return ports;
}

RdmaFacts rdma_facts() {
  auto ports = rdma_ports();
  if (!ports) return {.problem = rdma_hint(/*has_library=*/false)};
  RdmaFacts facts{.available = true, .ports = std::move(*ports)};
  facts.problem = problem_of(facts.ports);
  return facts;
}

Result<VerbsOwner<ibv_context>> open_rdma_device(const std::string& name) {
  COHORT_TRY(const VerbsLibrary* verbs, verbs_library());
  const DeviceList list(*verbs);
  for (ibv_device* device : list) {
    if (name == verbs->get_device_name(device)) return open(*verbs, device);
  }
  return fail(Code::kUnavailable, "there is no RDMA device {}", name);
}

}  // namespace cohort::transport
