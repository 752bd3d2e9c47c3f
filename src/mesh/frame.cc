#include "mesh/frame.h"

#include <cstring>

#include "base/bytes.h"
#include "base/check.h"

namespace cohort::mesh {

void append_frame(std::string& bytes, const Frame& frame) {
  COHORT_CHECK(frame.payload.size() <= kMaxPayloadBytes);
  char header[kFrameHeaderBytes] = {};
  store(header, static_cast<uint32_t>(frame.payload.size()));
  header[4] = static_cast<char>(frame.type);
  header[5] = static_cast<char>(frame.flags);
  store(header + 8, frame.stream);
  bytes.append(header, sizeof header);
  bytes.append(frame.payload);
}

std::span<char> FrameReader::space() {
  if (begin_ > 0) std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
  end_ -= begin_;
  begin_ = 0;
  return std::span(buffer_).subspan(end_);
}

Result<std::optional<Frame>> FrameReader::next() {
  if (end_ - begin_ < kFrameHeaderBytes) return std::nullopt;
  const char* header = buffer_.data() + begin_;
  const auto size = load<uint32_t>(header);
  const auto type = load<uint8_t>(header + 4);
  if (size > kMaxPayloadBytes) return fail(Code::kInvalidArgument, "a frame of {} bytes", size);
  if (type < static_cast<uint8_t>(FrameType::kHeartbeat) ||
      type > static_cast<uint8_t>(FrameType::kStreamReset))
    return fail(Code::kInvalidArgument, "a frame of unknown type {}", type);
  if (end_ - begin_ < kFrameHeaderBytes + size) return std::nullopt;
  begin_ += kFrameHeaderBytes + size;
  return Frame{.type = static_cast<FrameType>(type),
               .flags = load<uint8_t>(header + 5),
               .stream = load<uint32_t>(header + 8),
               .payload = std::string_view(header + kFrameHeaderBytes, size)};
}

}  // namespace cohort::mesh
