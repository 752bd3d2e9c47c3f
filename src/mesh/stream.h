// A pair of message queues, one each way, inside the link of two devices: ordered, bounded by the reader's window, gone
// when the link goes. Loop thread only.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "net/task.h"

namespace cohort::mesh {

class Stream {
 public:
  static constexpr size_t kMaxMessageBytes = size_t{64} << 20;
  static constexpr size_t kWindowBytes = size_t{1} << 20;  // unread, before the writer waits

  virtual ~Stream() =
      default;  // unless closed before, the peer's next read fails with kUnavailable

  virtual const std::string& peer() const = 0;
  virtual const std::string& purpose() const = 0;

  // Waits while the peer's window is full. kUnavailable: the stream or its link is gone; kTimeout; kTooLarge.
  virtual net::Task<Result<void>> write(std::string message, net::TimePoint deadline) = 0;

  // The next message; nullopt when the peer closed in good order. kUnavailable, kTimeout, kCancelled. One reader.
  virtual net::Task<Result<std::optional<std::string>>> read(net::TimePoint deadline) = 0;

  virtual void close() = 0;  // what was written still arrives; nothing more can be read
};

}  // namespace cohort::mesh
