#include "node/device.h"

#include <unistd.h>

#include <filesystem>
#include <system_error>

namespace cohort::node {

std::string host_name() {
  char name[256] = "";
  if (::gethostname(name, sizeof name - 1) != 0 || name[0] == '\0') return "device";
  return name;
}

Error leaving() { return {Code::kUnavailable, "this device is shutting down"}; }

uint64_t disk_available_bytes(const std::string& folder) {
  std::error_code error;
  const auto space = std::filesystem::space(folder.empty() ? "." : folder, error);
  return error ? 0 : space.available;
}

}  // namespace cohort::node
