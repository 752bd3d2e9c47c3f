// Measures the path of a connected TCP socket, together with the other end: round trips by ping-pong, messages as
// ranks exchange them, then the bandwidth of each direction by a burst. Blocks and spins: for a thread of its own.
#pragma once

#include "base/result.h"
#include "net/task.h"

namespace cohort::mesh {

inline constexpr size_t kProbeMessageBytes = 8192;

struct PathFigures {
  double round_trip_p50_s = 0;
  double round_trip_p99_s = 0;
  // Of kProbeMessageBytes to the other end, both ways at once and after a pause, as ranks exchange their sums: on a switch
  // more than half a round trip and the bytes at the path's rate, where something saves up rate less. 0: not known.
  double message_s = 0;
  double bytes_per_s = 0;  // of the slower direction, as its receiver saw it
};

enum class ProbeRole : uint8_t { kFirst, kSecond };  // one end each

// The socket does not block and belongs to nobody else meanwhile; shutting it down ends this with kUnavailable.
Result<PathFigures> probe_path(int socket, ProbeRole role, net::TimePoint deadline);

}  // namespace cohort::mesh
