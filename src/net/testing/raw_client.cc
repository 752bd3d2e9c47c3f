#include "net/testing/raw_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>

namespace cohort::net::testing {
namespace {

constexpr int kReceiveTimeoutSeconds = 60;  // a test that waits longer has failed

}  // namespace

RawClient::RawClient(uint16_t port, int receive_buffer_bytes) {
  fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const timeval timeout{.tv_sec = kReceiveTimeoutSeconds, .tv_usec = 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  if (receive_buffer_bytes > 0) {
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes, sizeof receive_buffer_bytes);
  }
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) close();
}

bool RawClient::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

void RawClient::shut_down_sending() { ::shutdown(fd_, SHUT_WR); }

void RawClient::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

void RawClient::reset() {
  const linger now{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  close();
}

bool RawClient::fill() {
  char bytes[16384];
  const ssize_t size = ::recv(fd_, bytes, sizeof bytes, 0);
  if (size > 0) buffer_.append(bytes, static_cast<size_t>(size));
  return size > 0;
}

std::string RawClient::take(size_t size) {
  std::string out = buffer_.substr(0, size);
  buffer_.erase(0, size);
  return out;
}

std::string RawClient::read_until(std::string_view mark) {
  size_t at;
  while ((at = buffer_.find(mark)) == std::string::npos) {
    if (!fill()) return take(buffer_.size());
  }
  return take(at + mark.size());
}

std::string RawClient::read_all() {
  while (fill()) {
  }
  return take(buffer_.size());
}

RawClient::Response RawClient::read_response() {
  Response response;
  response.head = read_until("\r\n\r\n");
  if (response.head.size() > 12) response.status = std::atoi(response.head.c_str() + 9);
  if (response.head.find("chunked") != std::string::npos) {
    for (;;) {
      const size_t size = std::strtoul(read_until("\r\n").c_str(), nullptr, 16);
      while (buffer_.size() < size + 2) {
        if (!fill()) return response;
      }
      response.body += take(size);
      take(2);
      if (size == 0) return response;
    }
  }
  const size_t at = response.head.find("Content-Length: ");
  if (at == std::string::npos) return response;
  const size_t size = std::strtoul(response.head.c_str() + at + 16, nullptr, 10);
  while (buffer_.size() < size && fill()) {
  }
  response.body = take(size);
  return response;
}

}  // namespace cohort::net::testing
