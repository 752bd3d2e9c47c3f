// What `cohort doctor` looks at, in parts: each function looks and says what it saw, none fails.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace cohort::cli {

struct Finding {
  enum class State { kOk, kWarning, kFailed };

  std::string check;
  State state = State::kOk;
  std::string seen;    // in a few words, with numbers
  std::string remedy;  // what to do; "" when there is nothing to do
};
using Findings = std::vector<Finding>;

// doctor_machine.cc
void examine_machine(const std::filesystem::path& data_dir, Findings& findings);

// doctor_network.cc. `is_device_up`: one of ours answers here, and may hold the ports.
void examine_network(bool is_device_up, Findings& findings);

}  // namespace cohort::cli
