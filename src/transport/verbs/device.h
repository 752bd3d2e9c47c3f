// RDMA devices of this machine and their ports.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace cohort::transport {

struct RdmaPort {
  std::string device;  // "mlx5_0", "rxe0", "rdma_en2"
  uint8_t port = 1;
  std::string state;      // "active", "down", "init"...
  std::string fabric;     // "ethernet", "infiniband"
  double gbit_per_s = 0;  // of the link; 0: the device does not tell
  uint16_t mtu_bytes = 0;
  uint32_t lid = 0;
  int gid_index = -1;  // of the address to use; -1: there is none
  std::array<std::byte, 16> gid{};

  bool usable() const { return state == "active" && gid_index >= 0; }
  bool has_ipv4() const;
  std::string address() const;  // "10.0.0.1" where the address is one of IPv4, else its bytes
};

// Ports of all devices. None is no error; kUnsupported: there is no verbs library.
Result<std::vector<RdmaPort>> rdma_ports();

// For `devices` and `doctor`: what is here, what keeps it from being used, and what to do.
struct RdmaFacts {
  bool available = false;  // the library is here
  std::vector<RdmaPort> ports;
  std::string problem;  // one line with the remedy; empty: none known
};
RdmaFacts rdma_facts();

}  // namespace cohort::transport
