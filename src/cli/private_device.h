// A device of one's own for the length of a command, when none is running on this machine: `cohort serve` as a child on a
// free loopback port. It ends with this object, and with this process however that ends.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/result.h"
#include "cli/commands.h"

namespace cohort::cli {

class PrivateDevice {
 public:
  static Result<PrivateDevice> start(const StoreOptions& store);

  PrivateDevice(PrivateDevice&& other) noexcept;
  PrivateDevice& operator=(PrivateDevice&&) = delete;
  ~PrivateDevice();

  std::string url() const { return url_; }

 private:
  PrivateDevice(pid_t pid, std::string url) : pid_(pid), url_(std::move(url)) {}

  pid_t pid_;
  std::string url_;
};

}  // namespace cohort::cli
