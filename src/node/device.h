// What this device is and has.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace cohort::node {

struct DeviceMemory {
  uint64_t total_bytes = 0;
  uint64_t available_bytes = 0;  // without swapping; a container's limit counts
};
DeviceMemory device_memory();

uint64_t own_rss_bytes();
std::string host_name();

// 32 hex digits, the same at every start: kept in <data_dir>/device-id. With no data_dir, a new one each time.
Result<std::string> device_id(const std::string& data_dir);

// Whether a model of that size can be loaded beside what runs. `limit_bytes` 0: none but the machine's.
struct FitQuestion {
  std::string model;
  uint64_t weight_bytes = 0;
  uint64_t placed_bytes = 0;  // of instances that run
  uint64_t limit_bytes = 0;
  DeviceMemory memory;
};
Result<void> check_fits(const FitQuestion& question);  // kUnavailable says how much is missing

}  // namespace cohort::node
