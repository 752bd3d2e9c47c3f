// Whole frames over a stream socket, blocking.
#pragma once

#include <optional>
#include <string_view>

#include "base/result.h"
#include "runner/frames.h"

namespace cohort::runner {

// Owns the descriptor. One thread may read while another writes.
class FrameSocket {
 public:
  explicit FrameSocket(int fd) : fd_(fd) {}
  ~FrameSocket();
  FrameSocket(const FrameSocket&) = delete;
  FrameSocket& operator=(const FrameSocket&) = delete;

  // nullopt: the peer closed. kDataLoss: it sent what is no frame.
  Result<std::optional<Frame>> read();
  // kUnavailable: the peer is gone.
  Result<void> write(std::string_view bytes);
  template <class T>
  Result<void> send(FrameType type, const T& body) {
    COHORT_TRY(const std::string bytes, encode_frame(type, body));
    return write(bytes);
  }

  void shut_down();  // ends a read() that is under way; safe from any thread

 private:
  int fd_;
  FrameDecoder decoder_;
};

}  // namespace cohort::runner
