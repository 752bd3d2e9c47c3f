// Steps of opening a link over frame ports, which both ends take at the same time.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "transport/frames/frame_memory.h"
#include "transport/frames/frame_port.h"
#include "transport/meeting.h"

namespace cohort::transport {

// True when both say yes.
Result<bool> agree(Meeting& meeting, bool yes);

// What a courier wants of its ports: slot i as id i.
Result<void> post_all_slots(FramePort& port, const FrameMemory& memory, uint32_t rail);

// Has a frame of the other's come within a second? Sends own ones meanwhile, and leaves none of them under way; all slots
// are posted before and after.
bool frames_cross(FramePort& port, const FrameMemory& memory, uint32_t rail);

}  // namespace cohort::transport
