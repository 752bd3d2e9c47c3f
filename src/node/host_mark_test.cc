#include "node/host_mark.h"

#include <gtest/gtest.h>

namespace cohort::node {
namespace {

TEST(HostMark, ADeviceOfThisHostIsFoundWhileItLives) {
  std::string name;
  {
    const HostMark mark = HostMark::set().value();
    name = mark.name();
    for (int look = 0; look < 1000; ++look) ASSERT_TRUE(is_on_this_host(name)) << look;
  }
  EXPECT_FALSE(is_on_this_host(name));
  EXPECT_FALSE(is_on_this_host(""));
}

}  // namespace
}  // namespace cohort::node
