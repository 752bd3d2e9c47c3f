// The registered memory of a link: where its frames are made and where they come in. About 1.3 MiB for one rail.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "transport/frames/frame.h"

namespace cohort::transport {

inline constexpr uint32_t kWindow = 8;     // messages under way in a direction
inline constexpr uint32_t kNoteSlots = 4;  // frames under way that only tell
inline constexpr uint32_t kReceiveSlots = kWindow + kNoteSlots;  // of a rail

class FrameMemory {
 public:
  explicit FrameMemory(uint32_t rails);

  std::span<std::byte> all() const { return {bytes_.get(), size_}; }
  std::span<std::byte> message(uint32_t slot) const;                  // slot < kWindow
  std::span<std::byte> note(uint32_t slot) const;                     // slot < kNoteSlots
  std::span<std::byte> received(uint32_t rail, uint32_t slot) const;  // slot < kReceiveSlots

 private:
  struct Free {
    void operator()(std::byte* bytes) const;
  };
  size_t size_;
  std::unique_ptr<std::byte, Free> bytes_;  // whole pages
};

}  // namespace cohort::transport
