#include "transport/verbs/rail_address.h"

#include <bit>
#include <cstring>

#include "base/bytes.h"

namespace cohort::transport {
namespace {

constexpr uint32_t kMaxNumber = 0xffffff;  // queue pairs and packets have numbers of 24 bits

}  // namespace

std::string RailAddress::encode() const {
  std::string bytes(kBytes, '\0');
  store(bytes.data(), queue_pair);
  store(bytes.data() + 4, first_packet);
  store(bytes.data() + 8, lid);
  store(bytes.data() + 12, mtu_bytes);
  store(bytes.data() + 14, static_cast<uint16_t>(reliable));
  std::memcpy(bytes.data() + 16, gid.data(), gid.size());
  store(bytes.data() + 32, mbit_per_s);
  return bytes;
}

Result<RailAddress> RailAddress::decode(std::string_view bytes) {
  if (bytes.size() != kBytes)
    return fail(Code::kDataLoss, "a queue pair's address has {} bytes, not {}", kBytes,
                bytes.size());
  RailAddress address{.queue_pair = load<uint32_t>(bytes.data()),
                      .first_packet = load<uint32_t>(bytes.data() + 4),
                      .lid = load<uint32_t>(bytes.data() + 8),
                      .mtu_bytes = load<uint16_t>(bytes.data() + 12),
                      .reliable = load<uint16_t>(bytes.data() + 14) != 0,
                      .mbit_per_s = load<uint32_t>(bytes.data() + 32)};
  std::memcpy(address.gid.data(), bytes.data() + 16, address.gid.size());
  const bool valid = address.queue_pair <= kMaxNumber && address.first_packet <= kMaxNumber &&
                     address.lid <= 0xffff && address.mtu_bytes >= 256 &&
                     address.mtu_bytes <= 4096 && std::has_single_bit(address.mtu_bytes);
  if (!valid) return fail(Code::kDataLoss, "a queue pair's address has a field out of its range");
  return address;
}

}  // namespace cohort::transport
