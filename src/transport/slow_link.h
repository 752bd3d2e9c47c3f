// A link made slower, for measurements of what a network would do: messages arrive when a cable of some rate and length
// would have brought them. Both ends are in this process.
#pragma once

#include <chrono>
#include <memory>
#include <utility>

#include "transport/link.h"

namespace cohort::transport {

struct SlowPath {
  std::chrono::nanoseconds one_way{0};
  double bytes_per_s = 0;  // in each direction; 0: as fast as the link
};

using LinkPair = std::pair<std::unique_ptr<Link>, std::unique_ptr<Link>>;

LinkPair slow_down(LinkPair ends, const SlowPath& path);

}  // namespace cohort::transport
