// How devices find that they are on the same host: each binds a local socket to a random name that its document tells, and
// whoever can reach the name shares its host; containers that share no network do not.
#pragma once

#include <string>

#include "base/result.h"

namespace cohort::node {

class HostMark {
 public:
  static Result<HostMark> set();
  HostMark(HostMark&& other) noexcept;
  HostMark& operator=(HostMark&& other) noexcept;
  ~HostMark();

  const std::string& name() const { return name_; }

 private:
  HostMark(int fd, std::string name) : fd_(fd), name_(std::move(name)) {}

  int fd_ = -1;
  std::string name_;
};

// Asks the system; waits for nothing. False for "".
bool is_on_this_host(const std::string& mark);

}  // namespace cohort::node
