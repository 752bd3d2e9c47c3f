// The cluster's secret: one line in <config>/cohort/secret, readable by its owner alone.
#pragma once

#include <filesystem>
#include <string>

#include "base/result.h"

namespace cohort::cli {

inline constexpr size_t kMinSecretLength = 12;
inline constexpr size_t kMaxSecretLength = 1024;

std::filesystem::path default_secret_file();

// "" when `file` is "" and none is kept. kInvalidArgument: too short to be one, or a file that is not there.
Result<std::string> read_secret(const std::filesystem::path& file);
Result<void> write_secret(const std::string& secret);
std::string new_secret();  // five groups of five letters and digits: 125 bits

}  // namespace cohort::cli
