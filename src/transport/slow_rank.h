// A rank that computes at a part of its pace, for measurements of devices that are not alike: whatever it does between two
// operations of its group takes so much longer, evenly. (A CPU quota would not do: it stops a rank for milliseconds on
// end, and counts the waits.)
#pragma once

#include <memory>

#include "transport/group.h"

namespace cohort::transport {

// `pace` in (0, 1]. The thread spins for the time that is added.
std::unique_ptr<Group> slow_rank(std::unique_ptr<Group> group, double pace);

}  // namespace cohort::transport
