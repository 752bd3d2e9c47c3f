#include "transport/frames/probe.h"

#include <poll.h>

#include <algorithm>
#include <chrono>
#include <cstring>

namespace cohort::transport {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

// Where nothing is lost the largest frame, which some engines move in another way than small ones; else a few packets.
constexpr size_t kUnreliableProbeBytes = 8192;
constexpr milliseconds kProbeLimit{1000};
constexpr milliseconds kBetweenProbes{5};
constexpr int kUnreliableProbes = 8;  // so that some arrive whatever is lost
constexpr std::string_view kYes = "yes", kNo = "no";

struct Taken {
  bool came = false;  // a probe of the other's
  bool sent = false;  // ours is out of its memory
};

size_t probe_bytes(const FramePort& port, const FrameRules& rules) {
  const size_t largest = rules.frame_bytes;
  return port.is_reliable() ? largest : std::min(largest, kUnreliableProbeBytes);
}

Result<Taken> take(FramePort& port, const FrameMemory& memory, uint32_t rail) {
  Taken taken;
  while (true) {
    COHORT_TRY(const std::optional<FramePort::Completion> done, port.poll());
    if (!done) return taken;
    if (!done->received) {
      taken.sent = true;
      continue;
    }
    taken.came |= done->size == probe_bytes(port, memory.rules());
    COHORT_TRY_VOID(port.receive(done->id, memory.received(rail, done->id)));
  }
}

}  // namespace

Result<bool> agree(Meeting& meeting, bool yes) {
  COHORT_TRY_VOID(meeting.tell(yes ? kYes : kNo));
  COHORT_TRY(const std::string answer, meeting.hear());
  return yes && answer == kYes;
}

Result<void> post_all_slots(FramePort& port, const FrameMemory& memory, uint32_t rail) {
  for (uint32_t slot = 0; slot < memory.rules().receive_slots(); ++slot)
    COHORT_TRY_VOID(port.receive(slot, memory.received(rail, slot)));
  return {};
}

bool frames_cross(FramePort& port, const FrameMemory& memory, uint32_t rail) {
  const std::span<std::byte> frame = memory.message(0).first(probe_bytes(port, memory.rules()));
  std::memset(frame.data(), 0, frame.size());
  const auto start = Clock::now();
  bool came = false, posted = false;
  int left = port.is_reliable() ? 1 : kUnreliableProbes;
  for (auto next = start; Clock::now() - start < kProbeLimit; ::poll(nullptr, 0, 1)) {
    if (left > 0 && !posted && Clock::now() >= next) {
      if (!port.send(0, frame)) return false;
      posted = true;
      --left;
      next += kBetweenProbes;
    }
    const Result<Taken> taken = take(port, memory, rail);
    if (!taken) return false;
    came |= taken->came;
    posted &= !taken->sent;
    if (came && left == 0 && !posted) return true;
  }
  return false;
}

}  // namespace cohort::transport
