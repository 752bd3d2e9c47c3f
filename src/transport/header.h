// The 24 bytes in front of every message of a link, little-endian:
//
//   u64 sequence   messages before it in this direction: 0, 1, 2...
//   u64 total      bytes of the whole transfer that this message is a piece of
//   u32 length     bytes of payload that follow
//   u16 kind       what the transfer is
//   u16 zero
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/result.h"

namespace cohort::transport {

// Longest payload of a message; longer transfers are cut into pieces.
inline constexpr size_t kMaxMessageBytes = 64 * 1024;

enum class Kind : uint16_t {
  kAllSum = 1,
  kAllGather,
  kBroadcast,
  kPoint,
  kBarrier,
  kKeyProof,
  kLeave,
  kAbort,
  kAgree
};

std::string_view kind_name(Kind kind);

struct Header {
  static constexpr size_t kBytes = 24;

  uint64_t sequence = 0;
  uint64_t total = 0;
  uint32_t length = 0;
  Kind kind = Kind::kAllSum;
};

void write_header(const Header& header, std::span<std::byte, Header::kBytes> out);

// kDataLoss, naming `peer`, when the sequence is not `expected` or a field is out of its range.
Result<Header> read_header(std::span<const std::byte, Header::kBytes> bytes, uint64_t expected,
                           std::string_view peer);

}  // namespace cohort::transport
