// What devices tell each other about the cluster. One struct for all kinds: most carry updates as cargo.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cluster/document.h"

namespace cohort::cluster {

enum class MemberState : uint8_t { kAlive = 0, kSuspect = 1, kDead = 2, kLeft = 3 };

// A claim about a device. The higher incarnation wins; at the same one the worse state does. Only the device itself
// raises its incarnation, which is how it refutes a suspicion.
struct MemberUpdate {
  DeviceId device;
  uint64_t incarnation = 0;
  uint8_t state = 0;  // MemberState

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("device", device);
    visit("incarnation", incarnation);
    visit("state", state);
  }
};

enum class MessageType : uint8_t {
  kPing = 1,  // answer with kAck of the same sequence
  kAck = 2,
  kPingRequest = 3,  // ping `target` for me; its ack comes back as my kAck
  kRumours = 4,      // documents that are news
  kHash = 5,         // hash of my documents; a different one answers with kDigest
  kDigest =
      6,  // versions of all mine; answered with kRumours of what I lack and a kWant of what you lack
  kWant = 7,  // a digest again, but not answered with another kWant
};

struct Message {
  uint8_t type = 0;  // MessageType
  uint64_t sequence = 0;
  DeviceId target;
  uint64_t hash = 0;
  std::vector<MemberUpdate> updates;
  std::vector<Document> documents;
  std::vector<DigestEntry> digest;

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("type", type);
    visit("sequence", sequence);
    visit("target", target);
    visit("hash", hash);
    visit("updates", updates);
    visit("documents", documents);
    visit("digest", digest);
  }
};

struct Envelope {
  DeviceId to;
  Message message;
};

}  // namespace cohort::cluster
