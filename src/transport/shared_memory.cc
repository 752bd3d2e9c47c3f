#include "transport/shared_memory.h"

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstring>

#include "transport/socket.h"

namespace cohort::transport {
namespace {

// One byte and room for one descriptor.
struct FdMessage {
  char byte = 'm';
  iovec part{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr call{};

  FdMessage() {
    call.msg_iov = &part;
    call.msg_iovlen = 1;
    call.msg_control = control;
    call.msg_controllen = sizeof(control);
  }
};

}  // namespace

Result<Mapping> Mapping::make(const UniqueFd& memory, size_t size_bytes) {
  void* at = mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory.get(), 0);
  if (at == MAP_FAILED) {
    return fail(Code::kUnavailable, "cannot map {} bytes of shared memory: {}", size_bytes,
                strerror(errno));
  }
  return Mapping({static_cast<std::byte*>(at), size_bytes});
}

Mapping::~Mapping() {
  if (!bytes_.empty()) munmap(bytes_.data(), bytes_.size());
}

Result<void> send_fd(const UniqueFd& socket, const UniqueFd& passed) {
  FdMessage message;
  cmsghdr* header = CMSG_FIRSTHDR(&message.call);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  const int fd = passed.get();
  std::memcpy(CMSG_DATA(header), &fd, sizeof(fd));
  while (sendmsg(socket.get(), &message.call, kSendFlags) < 0) {
    if (errno != EINTR)
      return fail(Code::kUnavailable, "cannot hand over shared memory: {}", strerror(errno));
  }
  return {};
}

Result<UniqueFd> try_receive_fd(const UniqueFd& socket) {
  FdMessage message;
  const ssize_t count = recvmsg(socket.get(), &message.call, MSG_DONTWAIT);
  if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return UniqueFd();
  if (count < 0) return fail(Code::kUnavailable, "{}", strerror(errno));
  if (count == 0) return fail(Code::kUnavailable, "the connection was closed");
  const cmsghdr* header = CMSG_FIRSTHDR(&message.call);
  if (header == nullptr || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS ||
      header->cmsg_len != CMSG_LEN(sizeof(int))) {
    return fail(Code::kDataLoss, "a message came without shared memory");
  }
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(header), sizeof(fd));
  return UniqueFd(fd);
}

}  // namespace cohort::transport
