#include "transport/frames/frame_memory.h"

#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "base/check.h"

namespace cohort::transport {
namespace {

constexpr size_t kLineBytes = 64;
constexpr size_t kNoteBytes = round_up(FrameHead::kBytes, kLineBytes);
constexpr size_t kSlotBytes = round_up(kMaxFrameBytes, kLineBytes);
constexpr size_t kNotesAt = kWindow * kSlotBytes;
constexpr size_t kReceivedAt = kNotesAt + kNoteSlots * kNoteBytes;

}  // namespace

void FrameMemory::Free::operator()(std::byte* bytes) const { std::free(bytes); }

FrameMemory::FrameMemory(uint32_t rails) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  size_ = round_up(kReceivedAt + size_t{rails} * kReceiveSlots * kSlotBytes, page);
  bytes_.reset(static_cast<std::byte*>(std::aligned_alloc(page, size_)));
  COHORT_CHECK(bytes_ != nullptr);
  std::memset(bytes_.get(), 0, size_);
}

std::span<std::byte> FrameMemory::message(uint32_t slot) const {
  return all().subspan(slot * kSlotBytes, kMaxFrameBytes);
}

std::span<std::byte> FrameMemory::note(uint32_t slot) const {
  return all().subspan(kNotesAt + slot * kNoteBytes, FrameHead::kBytes);
}

std::span<std::byte> FrameMemory::received(uint32_t rail, uint32_t slot) const {
  return all().subspan(kReceivedAt + (size_t{rail} * kReceiveSlots + slot) * kSlotBytes,
                       kMaxFrameBytes);
}

}  // namespace cohort::transport
