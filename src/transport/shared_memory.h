// Anonymous memory that two processes map, handed over as a descriptor.
#pragma once

#include <cstddef>
#include <span>

#include "base/result.h"
#include "transport/fd.h"

namespace cohort::transport {

// Zeroed, and never to shrink, so that a peer cannot make our reads fault.
Result<UniqueFd> create_shared_memory(size_t size_bytes);

// kDataLoss unless it came from create_shared_memory(size_bytes).
Result<void> check_shared_memory(const UniqueFd& memory, size_t size_bytes);

class Mapping {
 public:
  static Result<Mapping> make(const UniqueFd& memory, size_t size_bytes);
  Mapping(Mapping&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  Mapping& operator=(Mapping&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Mapping();

  std::byte* data() const { return bytes_.data(); }

 private:
  explicit Mapping(std::span<std::byte> bytes) : bytes_(bytes) {}
  std::span<std::byte> bytes_;
};

// One descriptor over a unix socket. try_receive_fd gives an empty fd while none has come.
Result<void> send_fd(const UniqueFd& socket, const UniqueFd& passed);
Result<UniqueFd> try_receive_fd(const UniqueFd& socket);

}  // namespace cohort::transport
