// What the devices of one cluster share: keys made from its namespace and its secret.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace cohort::mesh {

using Key32 = std::array<uint8_t, 32>;

struct GroupKeys {
  Key32 link_key;          // the pre-shared key of TLS
  Key32 beacon_key;        // authenticates beacons
  uint64_t namespace_tag;  // tells namespaces apart, in the open
  bool has_secret = false;
};

// Takes some 30 ms when there is a secret: guessing one costs as much a try. Without a secret anyone can make the keys.
GroupKeys derive_group_keys(std::string_view cluster_namespace, std::string_view secret);

// The first 16 bytes of HMAC-SHA256.
std::array<uint8_t, 16> short_mac(const Key32& key, std::string_view bytes);
bool equal_in_constant_time(std::string_view a, std::string_view b);
std::string random_bytes(size_t size);

}  // namespace cohort::mesh
