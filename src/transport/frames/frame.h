// What lies in front of each frame between two ends, little-endian:
//
//   u64 arrived   frames 0..arrived-1 have come
//   u64 taken     so many have been taken: the sender may run a window ahead of it
//   u32 beyond    bit i: frame arrived + 1 + i has come, too
//   u32 session   both ends name the same; 0: a probe
//
// A frame of no more than these bytes only tells, and has no number; in others a message's header (transport/header.h) and
// payload follow. A message that does not fit goes in several frames, all but the last of them full: the header's sequence
// is the frame's, its length what there is of the message from here on.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bytes.h"
#include "transport/header.h"

namespace cohort::transport {

struct FrameHead {
  static constexpr size_t kBytes = 24;

  uint64_t arrived = 0;
  uint64_t taken = 0;
  uint32_t beyond = 0;
  uint32_t session = 0;
};

inline constexpr size_t kFrameOverhead = FrameHead::kBytes + Header::kBytes;
inline constexpr size_t kMaxFrameBytes = kFrameOverhead + kMaxMessageBytes;

inline void write_frame_head(const FrameHead& head, std::byte* out) {
  store(out, head.arrived);
  store(out + 8, head.taken);
  store(out + 16, head.beyond);
  store(out + 20, head.session);
}

inline FrameHead read_frame_head(const std::byte* bytes) {
  return {.arrived = load<uint64_t>(bytes),
          .taken = load<uint64_t>(bytes + 8),
          .beyond = load<uint32_t>(bytes + 16),
          .session = load<uint32_t>(bytes + 20)};
}

}  // namespace cohort::transport
