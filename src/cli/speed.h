// How fast this device is, measured once by a child process and kept.
#pragma once

#include <cstdint>

#include "node/device.h"

namespace cohort::cli {

// From <cache>/cohort/speed.json when it was measured on this CPU by this version with as many threads; else measured now
// (about two seconds). Zeros when it cannot be measured.
node::DeviceSpeed device_speed(int32_t threads, const std::string& backend);

}  // namespace cohort::cli
