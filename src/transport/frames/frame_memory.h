// The registered memory of a link: where its frames are made and where they come in. About 1.3 MiB for one rail by the
// usual rules.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "transport/frames/frame_rules.h"

namespace cohort::transport {

class FrameMemory {
 public:
  FrameMemory(const FrameRules& rules, uint32_t rails);

  const FrameRules& rules() const { return rules_; }
  std::span<std::byte> all() const { return {bytes_.get(), size_}; }
  std::span<std::byte> message(uint32_t slot) const;                  // slot < window
  std::span<std::byte> received(uint32_t rail, uint32_t slot) const;  // slot < receive_slots()
  std::span<std::byte> note(uint32_t slot) const;                     // slot < kNoteSlots

 private:
  struct Free {
    void operator()(std::byte* bytes) const;
  };
  std::span<std::byte> frame(size_t index) const;

  FrameRules rules_;
  size_t slot_bytes_, notes_at_, size_;
  std::unique_ptr<std::byte, Free> bytes_;  // whole pages
};

}  // namespace cohort::transport
