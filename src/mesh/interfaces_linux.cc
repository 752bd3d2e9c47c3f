#include <filesystem>
#include <fstream>
#include <string>

#include "mesh/interfaces.h"

namespace cohort::mesh {
namespace {

namespace fs = std::filesystem;

constexpr int kEthernetType = 1;  // ARPHRD_ETHER

int link_type(const fs::path& folder) {
  int type = 0;
  std::ifstream(folder / "type") >> type;
  return type;
}

}  // namespace

std::string interface_kind(const Interface& interface) {
  if (interface.loopback) return "loopback";
  std::error_code error;
  const fs::path folder = fs::path("/sys/class/net") / interface.name;
  if (fs::exists(folder / "wireless", error) || fs::exists(folder / "phy80211", error))
    return "wifi";
  const fs::path driver = fs::read_symlink(folder / "device/driver", error);
  if (driver.filename().string().find("thunderbolt") != std::string::npos) return "thunderbolt";
  return link_type(folder) == kEthernetType ? "ethernet" : "other";
}

}  // namespace cohort::mesh
