#include <algorithm>
#include <cstddef>
#include <cstring>

#include "base/local_address.h"

namespace cohort {

// An abstract name starts with a zero byte and is as long as the address says.
LocalAddress local_socket_address(std::string_view name) {
  constexpr std::string_view kPrefix = "cohort-";
  LocalAddress local;
  local.address.sun_family = AF_UNIX;
  char* out = local.address.sun_path + 1;
  const size_t room = sizeof(local.address.sun_path) - 1 - kPrefix.size();
  const size_t size = std::min(name.size(), room);
  std::memcpy(out, kPrefix.data(), kPrefix.size());
  std::memcpy(out + kPrefix.size(), name.data(), size);
  local.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + kPrefix.size() + size);
  return local;
}

void forget_local_socket(std::string_view) {}

}  // namespace cohort
