// How fast this device is, measured once by a child process and kept.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "node/device.h"
#include "node/memory_gauge.h"

namespace cohort::cli {

// From <cache>/cohort/speed.json when it was measured on this CPU by this version with as many threads; else measured now
// (about two seconds). Zeros when it cannot be measured.
node::DeviceSpeed device_speed(int32_t threads, const std::string& backend);

// GB/s that memory gives to so many threads in each window, by a child process. At least one window; kTimeout: it was not
// ready for the first.
Result<std::vector<double>> memory_speed(int32_t threads, const std::string& backend,
                                         const std::vector<node::MeasuringWindow>& windows);

}  // namespace cohort::cli
