#include <filesystem>
#include <fstream>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <system_error>

#include <fmt/format.h>

#include "net/port_owner.h"

namespace cohort::net {
namespace {

namespace fs = std::filesystem;
constexpr const char* kStateListen = "0A";

// Socket inodes that listen on the port, out of /proc/net/tcp or tcp6.
void collect_listeners(const char* table, uint16_t port, std::set<std::string>& inodes) {
  std::ifstream file(table);
  const std::string suffix = fmt::format(":{:04X}", port);
  std::string line;
  std::getline(file, line);  // the titles
  while (std::getline(file, line)) {
    std::istringstream columns(line);
    std::string slot, local, remote, state, queues, timer, retransmits, user, timeout, inode;
    columns >> slot >> local >> remote >> state >> queues >> timer >> retransmits >> user >>
        timeout >> inode;
    if (state == kStateListen && local.ends_with(suffix)) inodes.insert("socket:[" + inode + "]");
  }
}

bool holds_one_of(const fs::path& process, const std::set<std::string>& inodes) {
  std::error_code error;
  for (fs::directory_iterator it(process / "fd", error), end; !error && it != end;
       it.increment(error)) {
    std::error_code link_error;
    if (inodes.contains(fs::read_symlink(it->path(), link_error).string())) return true;
  }
  return false;
}

std::string name_of(const fs::path& process) {
  std::ifstream file(process / "comm");
  std::string name;
  std::getline(file, name);
  return name;
}

}  // namespace

std::string port_owner(uint16_t port) {
  std::set<std::string> inodes;
  collect_listeners("/proc/net/tcp", port, inodes);
  collect_listeners("/proc/net/tcp6", port, inodes);
  if (inodes.empty()) return "";
  std::error_code error;
  for (fs::directory_iterator it("/proc", error), end; !error && it != end; it.increment(error)) {
    const std::string pid = it->path().filename().string();
    if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
    if (holds_one_of(it->path(), inodes))
      return fmt::format("pid {} ({})", pid, name_of(it->path()));
  }
  return "";
}

}  // namespace cohort::net
