// Frames of runner/protocol.h as bytes: u32 length of what follows, u8 type, JSON. No I/O here; both ends use it.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"
#include "runner/protocol.h"

namespace cohort::runner {

struct Frame {
  FrameType type = FrameType::kLoad;
  Json body;
};

// kTooLarge when the frame would pass kMaxFrameBytes.
Result<std::string> encode_frame_json(FrameType type, const Json& body);

template <class T>
Result<std::string> encode_frame(FrameType type, const T& body) {
  return encode_frame_json(type, to_json(body));
}

// Cuts a byte stream into frames. After an error the stream is of no use any more.
class FrameDecoder {
 public:
  void append(std::string_view bytes);
  // nullopt: the next frame is not complete yet. kDataLoss: a length, a type or a body that no sane peer sends.
  Result<std::optional<Frame>> next();
  size_t buffered_bytes() const { return buffer_.size() - consumed_; }

 private:
  std::string buffer_;
  size_t consumed_ = 0;
};

}  // namespace cohort::runner
