// How two runners come by the unix socket that a link of shared memory needs: whoever reaches the other's there is on the
// same host, and proves over it that it is the rank it met.
#pragma once

#include <memory>

#include "base/result.h"
#include "transport/meeting.h"

namespace cohort::transport {

// kUnavailable: they are on two hosts, or in containers that share no network.
Result<std::unique_ptr<Link>> open_shm_between(Meeting& meeting);

}  // namespace cohort::transport
