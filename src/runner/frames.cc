#include "runner/frames.h"

#include "base/bytes.h"

namespace cohort::runner {
namespace {

constexpr size_t kLengthBytes = sizeof(uint32_t);
constexpr size_t kHeaderBytes = kLengthBytes + 1;
// A body holds users' JSON a few levels down.
constexpr int kMaxBodyDepth = kMaxJsonDepth + 8;

bool is_known(uint8_t type) {
  return type >= static_cast<uint8_t>(FrameType::kLoad) &&
         type <= static_cast<uint8_t>(FrameType::kMeasured);
}

}  // namespace

Result<std::string> encode_frame_json(FrameType type, const Json& body) {
  const std::string text = dump_json(body);
  if (text.size() + 1 > kMaxFrameBytes) {
    return fail(Code::kTooLarge, "a frame of {} is over the limit of {}", format_bytes(text.size()),
                format_bytes(kMaxFrameBytes));
  }
  std::string frame(kHeaderBytes, '\0');
  store(frame.data(), static_cast<uint32_t>(text.size() + 1));
  frame[kLengthBytes] = static_cast<char>(type);
  return frame += text;
}

void FrameDecoder::append(std::string_view bytes) {
  if (consumed_ > 0) {
    buffer_.erase(0, consumed_);
    consumed_ = 0;
  }
  buffer_.append(bytes);
}

Result<std::optional<Frame>> FrameDecoder::next() {
  const std::string_view rest = std::string_view(buffer_).substr(consumed_);
  if (rest.size() < kLengthBytes) return std::nullopt;
  const auto length = load<uint32_t>(rest.data());
  if (length == 0 || length > kMaxFrameBytes) {
    return fail(Code::kDataLoss, "a frame claims {} bytes; the limit is {}", length,
                kMaxFrameBytes);
  }
  if (rest.size() < kLengthBytes + length) return std::nullopt;
  const auto type = static_cast<uint8_t>(rest[kLengthBytes]);
  if (!is_known(type)) return fail(Code::kDataLoss, "a frame has the unknown type {}", type);
  auto body = parse_json(rest.substr(kHeaderBytes, length - 1), kMaxBodyDepth);
  if (!body) return fail(Code::kDataLoss, "frame of type {}: {}", type, body.error().message);
  consumed_ += kLengthBytes + length;
  return Frame{static_cast<FrameType>(type), std::move(*body)};
}

}  // namespace cohort::runner
