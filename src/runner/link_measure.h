// A runner without a model: one of two that link as they are told, and measure that link as a group uses it.
#pragma once

#include "base/json.h"
#include "base/result.h"
#include "runner/frame_socket.h"

namespace cohort::runner {

// `command` is a MeasureCommand. Rank 0 tells the daemon what it has measured, in about half a second; rank 1 gives back
// what comes. Errors say why there is no such link. Ends when the daemon closes `fd`, which is the socket's.
Result<void> measure_link(FrameSocket& socket, int fd, const Json& command);

}  // namespace cohort::runner
