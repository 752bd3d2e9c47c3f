#include "base/local_address.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace cohort {
namespace {

class Socket {
 public:
  Socket() : fd_(::socket(AF_UNIX, SOCK_DGRAM, 0)) {}
  ~Socket() { ::close(fd_); }
  bool bind_to(const std::string& name) {
    const LocalAddress address = local_socket_address(name);
    return ::bind(fd_, address.get(), address.size) == 0;
  }
  bool reaches(const std::string& name) {
    const LocalAddress address = local_socket_address(name);
    return ::connect(fd_, address.get(), address.size) == 0;
  }

 private:
  int fd_;
};

TEST(LocalAddress, WhoIsBoundToANameIsReachedByItAndNobodyElseIs) {
  const std::string name = random_local_name();
  EXPECT_FALSE(Socket().reaches(name));
  {
    Socket owner;
    ASSERT_TRUE(owner.bind_to(name));
    EXPECT_TRUE(Socket().reaches(name));
    EXPECT_FALSE(Socket().reaches(random_local_name()));
    EXPECT_FALSE(Socket().bind_to(name));
  }
  forget_local_socket(name);
  EXPECT_FALSE(Socket().reaches(name));
}

TEST(LocalAddress, NamesFromAPeerOfAnyLengthLeadNowhere) {
  for (const size_t length : {size_t{0}, size_t{1}, size_t{100}, size_t{100000}})
    EXPECT_FALSE(Socket().reaches(std::string(length, 'x'))) << length;
  EXPECT_FALSE(Socket().reaches("../../etc/passwd"));
}

}  // namespace
}  // namespace cohort
