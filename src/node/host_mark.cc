#include "node/host_mark.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/local_address.h"

namespace cohort::node {
namespace {

// Datagrams: a connection to such a socket asks nothing of its owner.
int open_socket() {
  const int fd = ::socket(AF_UNIX, SOCK_DGRAM, 0);
  if (fd >= 0) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  return fd;
}

}  // namespace

Result<HostMark> HostMark::set() {
  HostMark mark(open_socket(), random_local_name());
  const LocalAddress address = local_socket_address(mark.name_);
  if (mark.fd_ >= 0 && ::bind(mark.fd_, address.get(), address.size) == 0) return mark;
  return fail(Code::kUnavailable, "no local socket: {}", strerror(errno));
}

HostMark::HostMark(HostMark&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), name_(std::move(other.name_)) {}

HostMark& HostMark::operator=(HostMark&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(name_, other.name_);
  return *this;
}

HostMark::~HostMark() {
  if (fd_ < 0) return;
  ::close(fd_);
  forget_local_socket(name_);
}

bool is_on_this_host(const std::string& mark) {
  if (mark.empty()) return false;
  const int fd = open_socket();
  if (fd < 0) return false;
  const LocalAddress address = local_socket_address(mark);
  const bool reached = ::connect(fd, address.get(), address.size) == 0;
  ::close(fd);
  return reached;
}

}  // namespace cohort::node
