#include <net/if.h>
#include <net/if_media.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "mesh/interfaces.h"

namespace cohort::mesh {

// A Thunderbolt bridge is called "bridge0" and has no media of its own.
std::string interface_kind(const Interface& interface) {
  if (interface.loopback) return "loopback";
  if (interface.name.starts_with("bridge")) return "thunderbolt";
  const int any_socket = ::socket(AF_INET, SOCK_DGRAM, 0);
  if (any_socket < 0) return "other";
  ifmediareq request = {};
  std::strncpy(request.ifm_name, interface.name.c_str(), sizeof request.ifm_name - 1);
  const int told = ::ioctl(any_socket, SIOCGIFMEDIA, &request);
  ::close(any_socket);
  if (told < 0) return "other";
  switch (IFM_TYPE(request.ifm_current)) {
    case IFM_IEEE80211: return "wifi";
    case IFM_ETHER: return "ethernet";
    default: return "other";
  }
}

}  // namespace cohort::mesh
