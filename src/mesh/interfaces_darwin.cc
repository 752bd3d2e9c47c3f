#include <CoreFoundation/CoreFoundation.h>
#include <SystemConfiguration/SystemConfiguration.h>

#include <string>

#include "mesh/interfaces.h"

namespace cohort::mesh {
namespace {

std::string text_of(CFStringRef text) {
  char buffer[256] = "";
  if (text == nullptr || !CFStringGetCString(text, buffer, sizeof buffer, kCFStringEncodingUTF8))
    return "";
  return buffer;
}

bool contains(const std::string& text, const char* word) {
  return text.find(word) != std::string::npos;
}

// A port of Thunderbolt is of type Ethernet, and the bridge over all of them of type Bridge; both are known by their
// names ("Thunderbolt 1", "Thunderbolt Bridge"), which keep that word in every language. So do network cards behind
// Thunderbolt, which are no such port: "Thunderbolt Ethernet Slot 1".
std::string kind_of(SCNetworkInterfaceRef interface) {
  const CFStringRef type = SCNetworkInterfaceGetInterfaceType(interface);
  const std::string name = text_of(SCNetworkInterfaceGetLocalizedDisplayName(interface));
  const bool card = contains(name, "Ethernet") || contains(name, "FireWire");
  if (contains(name, "Thunderbolt") && !card) return "thunderbolt";
  if (type == nullptr) return "other";
  if (CFEqual(type, kSCNetworkInterfaceTypeIEEE80211)) return "wifi";
  return CFEqual(type, kSCNetworkInterfaceTypeEthernet) ? "ethernet" : "other";
}

}  // namespace

std::string interface_kind(const Interface& interface) {
  if (interface.loopback) return "loopback";
  const CFArrayRef all = SCNetworkInterfaceCopyAll();
  if (all == nullptr) return "other";
  std::string kind = "other";
  for (CFIndex i = 0; i < CFArrayGetCount(all); ++i) {
    const auto one = static_cast<SCNetworkInterfaceRef>(CFArrayGetValueAtIndex(all, i));
    if (text_of(SCNetworkInterfaceGetBSDName(one)) == interface.name) kind = kind_of(one);
  }
  CFRelease(all);
  return kind;
}

}  // namespace cohort::mesh
