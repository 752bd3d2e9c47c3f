// A link between two processes of one host: a ring of message slots in shared memory for each direction, and a unix
// socket that rings when the other side sleeps and closes when its process dies. Not encrypted: the memory is nobody
// else's.
#pragma once

#include <memory>
#include <string>

#include "transport/deadline.h"
#include "transport/fd.h"
#include "transport/link.h"

namespace cohort::transport {

struct ShmOptions {
  bool creator = false;  // exactly one side makes the memory and hands it over
  std::string name;      // the peer's, for messages
  Deadline deadline = Deadline::after(std::chrono::seconds(10));
};

// `socket` is a connected unix stream socket. A process that is forked must close its copies of ends that are not its
// own: death shows when the last copy closes. The creator does not wait for the other side.
Result<std::unique_ptr<Link>> open_shm_link(UniqueFd socket, const ShmOptions& options);

}  // namespace cohort::transport
