// What this device is and has.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "cluster/device_document.h"

namespace cohort::node {

struct DeviceMemory {
  uint64_t total_bytes = 0;
  uint64_t available_bytes = 0;  // without swapping; a container's limit counts
};
DeviceMemory device_memory();

uint64_t own_rss_bytes();
std::string host_name();

// Facts that stay while the process runs.
struct DeviceHardware {
  std::string system;  // "linux x86_64"
  std::string cpu;     // its model name
  int32_t cores = 0;
  std::string machine;  // the same for all processes under one kernel, containers too; "": unknown
};
DeviceHardware device_hardware();

double temperature_c();     // of the hottest sensor; 0: the OS does not tell
int32_t battery_percent();  // -1: no battery, or the OS does not tell
uint64_t disk_available_bytes(const std::string& folder);

// What a runner of this device reaches, as measured (`cohort calibrate`).
struct DeviceSpeed {
  double read_gb_per_s = 0;
  double matmul_gops = 0;
  std::string instruction_set;
  cluster::StepSpeed step;
  std::vector<std::string> backends;  // the one that models compute on comes first
  std::vector<cluster::MissingBackend> missing_backends;
};

Error leaving();  // what requests get once this device shuts down

}  // namespace cohort::node
