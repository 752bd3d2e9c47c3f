// What a device shouts into the local network, so that others find it. Values and their bytes; no I/O.
//
//   "cohort-B"   u8 version   u8 flags (1: a secret is set)   u16 mesh port   u32 zero   u64 namespace tag   u64 boot
//   16 bytes id   (later releases: more)   16 bytes MAC of all before it
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "mesh/group_keys.h"

namespace cohort::mesh {

struct Beacon {
  std::string id;
  uint64_t boot_unix_ms = 0;
  uint16_t mesh_port = 0;
};

inline constexpr size_t kMaxBeaconBytes = 512;

std::string encode_beacon(const Beacon& beacon, const GroupKeys& keys);

// kInvalidArgument: it is none. kUnauthorized: of another namespace or secret; the message says which.
Result<Beacon> decode_beacon(std::string_view bytes, const GroupKeys& keys);

}  // namespace cohort::mesh
