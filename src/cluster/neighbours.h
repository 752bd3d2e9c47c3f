// Which devices hold a link with each other: all while there are few; above that a graph in which everyone has a few
// neighbours and any two are a few links apart. Pure, and symmetric: whoever knows the same devices finds the same links.
#pragma once

#include <cstddef>
#include <set>
#include <vector>

#include "cluster/document.h"

namespace cohort::cluster {

inline constexpr size_t kFullMeshUpTo = 32;  // devices
inline constexpr size_t kRings = 4;          // above that: at most twice as many neighbours

// The graph is the union of kRings rings through all devices, each in another random-looking order: connected however the
// devices come and go, since a ring closes over a gap as soon as it is known. `devices` may hold self.
std::set<DeviceId> neighbours(const DeviceId& self, const std::set<DeviceId>& devices);

}  // namespace cohort::cluster
