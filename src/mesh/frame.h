// The unit of a link: twelve bytes of header and at most kMaxPayloadBytes behind it. No I/O.
//
//   u32 payload size   u8 type   u8 flags   u16 zero   u32 stream   payload
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace cohort::mesh {

enum class FrameType : uint8_t {
  kHeartbeat = 1,     // says only: I am here
  kGoodbye = 2,       // the device leaves; payload: why
  kMessage = 3,       // a fragment of a control message; kLast ends it
  kProbe = 4,         // what devices say about measurements
  kStreamOpen = 5,    // payload: purpose
  kStreamData = 6,    // a fragment of a stream's message; kLast ends it
  kStreamCredit = 7,  // u32: so many more bytes may be sent
  kStreamClose = 8,   // in good order
  kStreamReset = 9,   // payload: why
};

inline constexpr size_t kFrameHeaderBytes = 12;
inline constexpr size_t kMaxPayloadBytes = 32u << 10;
inline constexpr size_t kFragmentBytes = 16u << 10;  // what we send at most
inline constexpr uint8_t kLast = 1;

struct Frame {
  FrameType type = FrameType::kHeartbeat;
  uint8_t flags = 0;
  uint32_t stream = 0;
  std::string_view payload;
};

void append_frame(std::string& bytes, const Frame& frame);

// Cuts what arrives into frames. Receive into space(), tell received(), take next() until it is empty.
class FrameReader {
 public:
  FrameReader() : buffer_(2 * (kFrameHeaderBytes + kMaxPayloadBytes)) {}

  std::span<char> space();
  void received(size_t size) { end_ += size; }
  // The payload is valid until space(). kInvalidArgument: no peer of ours writes such a header.
  Result<std::optional<Frame>> next();

 private:
  std::vector<char> buffer_;
  size_t begin_ = 0, end_ = 0;
};

}  // namespace cohort::mesh
