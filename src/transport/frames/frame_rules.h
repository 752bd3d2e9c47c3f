// How long the frames of a link may be, and how many of them may be under way. Both ends keep the same rules.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "transport/frames/frame.h"

namespace cohort::transport {

inline constexpr uint32_t kNoteSlots = 4;   // frames under way that only tell
inline constexpr uint32_t kMaxWindow = 24;  // whatever the rules

struct FrameRules {
  static constexpr uint32_t kLeastFrameBytes = 256;
  static constexpr uint32_t kLeastWindow = 2;

  uint32_t frame_bytes = kMaxFrameBytes;  // of the longest, its head included
  uint32_t window = 8;  // frames that carry a message, or a piece of one, under way in a direction

  size_t piece_bytes() const { return frame_bytes - kFrameOverhead; }  // of a message, in a frame
  uint32_t receive_slots() const { return window + kNoteSlots; }       // of a rail
  bool operator==(const FrameRules&) const = default;
};

// What both can keep.
inline FrameRules common_rules(const FrameRules& a, const FrameRules& b) {
  return {.frame_bytes = std::min(a.frame_bytes, b.frame_bytes),
          .window = std::min(a.window, b.window)};
}

}  // namespace cohort::transport
