// config.toml: the same keys as the flags of `serve`, without dashes in front. Flags win over environment variables, those
// over the file.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"

namespace cohort::cli {

// Where the platform keeps configuration: $XDG_CONFIG_HOME/cohort or ~/.config/cohort; on macOS Application Support.
std::filesystem::path config_dir();

// Key -> values as flag text ("port" -> {"8080"}, "peer" -> {"a", "b"}). A missing file has no keys; a broken one is an
// error that names line and column.
Result<std::map<std::string, std::vector<std::string>>> read_config_file(
    const std::filesystem::path& path);

}  // namespace cohort::cli
