#include "runner/frame_socket.h"

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace cohort::runner {
namespace {

constexpr size_t kReadBytes = 64u << 10;

}  // namespace

FrameSocket::~FrameSocket() { ::close(fd_); }

Result<std::optional<Frame>> FrameSocket::read() {
  std::array<char, kReadBytes> bytes;
  for (;;) {
    COHORT_TRY(std::optional<Frame> frame, decoder_.next());
    if (frame) return frame;
    const ssize_t size = ::read(fd_, bytes.data(), bytes.size());
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return std::nullopt;  // closed, or reset: gone either way
    decoder_.append({bytes.data(), static_cast<size_t>(size)});
  }
}

Result<void> FrameSocket::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t size = ::write(fd_, bytes.data(), bytes.size());
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return fail(Code::kUnavailable, "the daemon is gone: {}", std::strerror(errno));
    bytes.remove_prefix(static_cast<size_t>(size));
  }
  return {};
}

void FrameSocket::shut_down() { ::shutdown(fd_, SHUT_RDWR); }

}  // namespace cohort::runner
