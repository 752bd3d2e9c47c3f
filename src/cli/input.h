// What commands read: standard input, or a file ("-" is standard input).
#pragma once

#include <filesystem>
#include <string>

#include "base/result.h"

namespace cohort::cli {

std::string read_standard_input();
Result<std::string> read_input(const std::filesystem::path& path);

}  // namespace cohort::cli
