#include "transport/frames/frame_memory.h"

#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "base/check.h"

namespace cohort::transport {
namespace {

constexpr size_t kLineBytes = 64;
constexpr size_t kNoteBytes = round_up(FrameHead::kBytes, kLineBytes);

}  // namespace

void FrameMemory::Free::operator()(std::byte* bytes) const { std::free(bytes); }

FrameMemory::FrameMemory(const FrameRules& rules, uint32_t rails)
    : rules_(rules), slot_bytes_(round_up<size_t>(rules.frame_bytes, kLineBytes)) {
  COHORT_CHECK(rules.frame_bytes >= FrameRules::kLeastFrameBytes);
  COHORT_CHECK(rules.frame_bytes <= kMaxFrameBytes);
  COHORT_CHECK(rules.window >= FrameRules::kLeastWindow && rules.window <= kMaxWindow);
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  notes_at_ = (rules.window + size_t{rails} * rules.receive_slots()) * slot_bytes_;
  size_ = round_up(notes_at_ + kNoteSlots * kNoteBytes, page);
  bytes_.reset(static_cast<std::byte*>(std::aligned_alloc(page, size_)));
  COHORT_CHECK(bytes_ != nullptr);
  std::memset(bytes_.get(), 0, size_);
}

std::span<std::byte> FrameMemory::frame(size_t index) const {
  return all().subspan(index * slot_bytes_, rules_.frame_bytes);
}

std::span<std::byte> FrameMemory::message(uint32_t slot) const { return frame(slot); }

std::span<std::byte> FrameMemory::received(uint32_t rail, uint32_t slot) const {
  return frame(rules_.window + size_t{rail} * rules_.receive_slots() + slot);
}

std::span<std::byte> FrameMemory::note(uint32_t slot) const {
  return all().subspan(notes_at_ + slot * kNoteBytes, FrameHead::kBytes);
}

}  // namespace cohort::transport
