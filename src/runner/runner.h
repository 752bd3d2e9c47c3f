// The child process that holds one shard of one model: loads it, then answers what the daemon asks.
#pragma once

namespace cohort::runner {

// Serves the stream socket `fd` (runner/protocol.h) until the daemon closes it or sends kShutdown. Returns the process's
// exit code: 0 when it was told to end or the model could not be loaded (which it said), 1 when the peer made no sense.
int run_runner(int fd);

}  // namespace cohort::runner
