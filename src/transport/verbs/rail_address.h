// What the other end of a queue pair must know of ours: plain values, exchanged over whatever connects both already.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace cohort::transport {

struct RailAddress {
  static constexpr size_t kBytes = 36;

  uint32_t queue_pair = 0;
  uint32_t first_packet = 0;  // number of the first packet it sends
  uint32_t lid = 0;           // of the port; 0 on Ethernet and Thunderbolt
  uint16_t mtu_bytes = 0;     // of its port's path
  bool reliable = false;
  std::array<std::byte, 16> gid{};
  uint32_t mbit_per_s = 0;  // of its port; 0: the device does not tell

  std::string encode() const;
  static Result<RailAddress> decode(std::string_view bytes);  // kDataLoss
};

}  // namespace cohort::transport
