// The rate of one direction of a path, by a burst: it starts, is timed at its receiver, and ends when that has seen enough.
#pragma once

#include "base/result.h"
#include "mesh/probe_socket.h"

namespace cohort::mesh {

// Returns when all that was sent has arrived.
Result<void> send_burst(ProbeSocket& socket);

// Bytes per second. kInvalidArgument: the other end does not keep to the rules.
Result<double> receive_burst(ProbeSocket& socket, double round_trip_s);

}  // namespace cohort::mesh
