#include "base/tcp_congestion.h"

#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

namespace cohort {
namespace {

class TcpSocket {
 public:
  explicit TcpSocket(int fd = ::socket(AF_INET, SOCK_STREAM, 0)) : fd_(fd) {}
  TcpSocket(const TcpSocket&) = delete;
  ~TcpSocket() { ::close(fd_); }
  int fd() const { return fd_; }

  bool choose(const std::string& name) {
    return ::setsockopt(fd_, IPPROTO_TCP, TCP_CONGESTION, name.data(),
                        static_cast<socklen_t>(name.size())) == 0;
  }
  std::string chosen() const {
    char name[16] = {};
    socklen_t size = sizeof(name) - 1;
    EXPECT_EQ(::getsockopt(fd_, IPPROTO_TCP, TCP_CONGESTION, name, &size), 0);
    return name;
  }

 private:
  int fd_;
};

TEST(TcpCongestion, WhatDoesNotPaceStaysAsTheSystemChoseIt) {
  TcpSocket socket;
  ASSERT_TRUE(socket.choose("reno"));
  avoid_paced_sending(socket.fd());
  EXPECT_EQ(socket.chosen(), "reno");
}

TEST(TcpCongestion, APacedSocketIsNotPacedAnyMoreNorWhatItAccepts) {
  TcpSocket listener;
  if (!listener.choose("bbr")) GTEST_SKIP() << "this kernel has no BBR";
  avoid_paced_sending(listener.fd());
  EXPECT_NE(listener.chosen(), "bbr");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* place = reinterpret_cast<sockaddr*>(&address);
  socklen_t size = sizeof(address);
  ASSERT_EQ(::bind(listener.fd(), place, size), 0);
  ASSERT_EQ(::listen(listener.fd(), 1), 0);
  ASSERT_EQ(::getsockname(listener.fd(), place, &size), 0);
  TcpSocket dialer;
  ASSERT_TRUE(dialer.choose("bbr"));
  ASSERT_EQ(::connect(dialer.fd(), place, size), 0);
  TcpSocket accepted(::accept(listener.fd(), nullptr, nullptr));
  EXPECT_EQ(accepted.chosen(), listener.chosen());
}

}  // namespace
}  // namespace cohort
