#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>

#include "base/local_address.h"

namespace cohort {
namespace {

// Of the user, and of nobody else. A peer's name leads nowhere outside of it.
std::string path_of(std::string_view name) {
  char folder[sizeof(sockaddr_un::sun_path)] = "/tmp/";
  confstr(_CS_DARWIN_USER_TEMP_DIR, folder, sizeof(folder));
  std::string file(name);
  std::erase(file, '/');
  return std::string(folder) + "/ch-" + file;
}

}  // namespace

LocalAddress local_socket_address(std::string_view name) {
  LocalAddress local;
  local.address.sun_family = AF_UNIX;
  const std::string path = path_of(name);
  const size_t size = std::min(path.size(), sizeof(local.address.sun_path) - 1);
  std::memcpy(local.address.sun_path, path.data(), size);
  local.size = static_cast<socklen_t>(SUN_LEN(&local.address));
  return local;
}

void forget_local_socket(std::string_view name) { unlink(path_of(name).c_str()); }

}  // namespace cohort
