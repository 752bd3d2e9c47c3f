#include "cluster/neighbours.h"

#include <cstdint>

#include "cluster/random.h"

namespace cohort::cluster {
namespace {

uint64_t hash_of(const DeviceId& id) {  // FNV-1a: the same on every machine
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : id) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  return hash;
}

uint64_t place_on(size_t ring, uint64_t hash) { return Random(hash + ring).next(); }

// The nearest on either side. Unsigned differences go round the ring by themselves.
struct Sides {
  const DeviceId* next = nullptr;
  const DeviceId* previous = nullptr;
  uint64_t to_next = UINT64_MAX, to_previous = UINT64_MAX;
};

}  // namespace

std::set<DeviceId> neighbours(const DeviceId& self, const std::set<DeviceId>& devices) {
  std::set<DeviceId> chosen;
  const size_t others = devices.size() - devices.count(self);
  if (others < kFullMeshUpTo) {
    chosen = devices;
    chosen.erase(self);
    return chosen;
  }
  const uint64_t own = hash_of(self);
  Sides rings[kRings];
  for (const DeviceId& device : devices) {
    if (device == self) continue;
    const uint64_t hash = hash_of(device);
    for (size_t ring = 0; ring < kRings; ++ring) {
      Sides& sides = rings[ring];
      const uint64_t ahead = place_on(ring, hash) - place_on(ring, own);
      if (ahead < sides.to_next) {
        sides.to_next = ahead;
        sides.next = &device;
      }
      if (0 - ahead < sides.to_previous) {
        sides.to_previous = 0 - ahead;
        sides.previous = &device;
      }
    }
  }
  for (const Sides& sides : rings) {
    chosen.insert(*sides.next);
    chosen.insert(*sides.previous);
  }
  return chosen;
}

}  // namespace cohort::cluster
