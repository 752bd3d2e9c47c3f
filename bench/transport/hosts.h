// Where a benchmark's two ranks are: each on a core of its own, and, when COHORT_BENCH_HOSTS names two network namespaces
// and an address of the first ("here,there,10.88.0.1"), on two hosts.
#pragma once

#include <utility>

#include "transport/socket.h"

namespace cohort::transport {

void pin_to_core(int rank);  // the calling thread; nothing where there is one core, or no such call

Result<std::pair<UniqueFd, UniqueFd>> connected_hosts();  // over loopback without the variable

}  // namespace cohort::transport
