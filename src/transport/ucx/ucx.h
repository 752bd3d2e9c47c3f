// A link over UCX, the engine of data-centre fabrics: it chooses between InfiniBand, RoCE, shared memory and TCP by
// itself (its UCX_... variables tell it otherwise). Beside it the TCP link that connects both already goes on to say who
// leaves, gives up or dies. Data is not encrypted.
#pragma once

#include <memory>

#include "base/result.h"
#include "transport/link.h"
#include "transport/meeting.h"

namespace cohort::transport {

Result<std::unique_ptr<Link>> open_ucx_between(Meeting& meeting);

bool has_ucx();

}  // namespace cohort::transport
