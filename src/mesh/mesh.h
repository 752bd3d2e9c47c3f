// Which devices are there and how to reach them: beacons find peers, one encrypted link joins each pair, and on a link run
// control messages and any number of streams. Loop thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "mesh/identity.h"
#include "mesh/refusals.h"
#include "mesh/stream.h"
#include "net/task.h"

namespace cohort::mesh {

inline constexpr uint16_t kDefaultPort = 52416;
inline constexpr uint16_t kBeaconPort = 52416;  // UDP; the same for all devices, shared on one host
inline constexpr size_t kMaxMessageBytes = 1u << 20;

struct MeshOptions {
  Identity identity;
  std::string name;  // as people call this device
  std::string cluster_namespace = "default";
  std::string secret;              // "": none; then only peers on the link-local network are taken
  std::string host;                // to listen on; "": all interfaces
  uint16_t port = kDefaultPort;    // 0: a free one. Taken: the next free one, and a notice
  std::vector<std::string> peers;  // HOST[:PORT], names too; tried again and again
  std::string data_dir;            // peers of the past are remembered here; "": they are not
  bool beacons = true;
  uint64_t boot_unix_ms = 0;                       // of this process
  uint16_t beacon_port = kBeaconPort;              // the same for all devices
  std::chrono::milliseconds unneeded_for{10'000};  // then a link is closed
};

// A peer whose link is up.
struct Peer {
  std::string id;
  std::string name;
  uint64_t boot_unix_ms = 0;
  std::string address;  // numeric, of the path the link runs over
  uint16_t mesh_port = 0;
};

// A path as measured. Zeros where nothing was measured yet.
struct LinkStatus {
  std::string peer;
  std::string address;
  std::string
      kind;  // of the local interface: "ethernet", "wifi", "thunderbolt", "loopback", "other"
  double round_trip_p50_s = 0;
  double round_trip_p99_s = 0;
  double message_s = 0;  // of kProbeMessageBytes (path_probe.h)
  double bytes_per_s = 0;
  net::TimePoint measured_at;
};

struct OwnAddress {
  std::string interface, kind;  // as in LinkStatus
  std::string address;          // numeric
};

// Called on the loop thread, never from inside a call to the mesh.
struct MeshEvents {
  std::function<void(const Peer& peer)> link_up;  // also when a better path takes a link's place
  std::function<void(const std::string& peer, const std::string& why)> link_lost;
  std::function<void(const std::string& peer)> link_closed;  // nobody needed it
  std::function<void(const std::string& peer, std::string message)> message;
  std::function<void(std::unique_ptr<Stream> stream)> stream;  // a peer opened one
  std::function<void(const std::string& peer)> measured;       // its LinkStatus is new
  std::function<bool()> busy = [] {
    return false;
  };  // something runs that a measurement would disturb
  // Of `heard` (peers whose beacons come) and all others that are known: those that need no link. They get one only while a
  // stream runs. Asked often.
  std::function<std::set<std::string>(const std::set<std::string>& heard)> dispensable =
      [](const auto&) { return std::set<std::string>(); };
};

class Mesh {
 public:
  // Opens the port. kUnavailable says who has it when no other is free.
  static Result<std::unique_ptr<Mesh>> create(net::Executor executor, MeshOptions options,
                                              MeshEvents events);
  ~Mesh();  // after close()

  uint16_t port() const;
  const std::string& id() const;
  std::vector<Peer> peers() const;
  const Peer* find(std::string_view peer) const;
  std::vector<LinkStatus> links() const;

  // Queued in order; false when there is no link, or its queue is full and the message is dropped.
  bool send(const std::string& peer, std::string message);

  // Where a peer is said to be: for when it needs a link, and no beacon of it comes here. Forgotten after ten seconds.
  void introduce(const std::string& peer, const std::vector<std::string>& hosts, uint16_t port);

  // Makes a link if there is none. kUnavailable: it cannot be reached, or not by the deadline. `purpose` is for the peer to
  // tell streams apart: "call", "generate", "shard".
  net::Task<Result<std::unique_ptr<Stream>>> open_stream(std::string peer, std::string purpose,
                                                         net::TimePoint deadline);

  std::string address_of(
      std::string_view peer) const;           // of its link, or where it may be; "": unknown
  std::vector<OwnAddress> addresses() const;  // that others may reach
  std::vector<Refusal> refusals() const;      // the latest first

  net::Task<void> close();  // tells the peers

 private:
  struct State;
  explicit Mesh(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace cohort::mesh
