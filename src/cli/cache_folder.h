// Where what can be made again is kept.
#pragma once

#include <filesystem>

namespace cohort::cli {

// $XDG_CACHE_HOME/cohort or ~/.cache/cohort; empty when neither is known. Not created.
std::filesystem::path cache_folder();

}  // namespace cohort::cli
