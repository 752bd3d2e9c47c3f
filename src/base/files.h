// Small files that must be whole or as they were.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string_view>

#include "base/result.h"

namespace cohort {

// The file has all of `text`, or is what it was before: written beside it and renamed. Makes its folder. kUnavailable says
// what went wrong (a full disk, no permission); nothing is left behind then.
Result<void> write_file(const std::filesystem::path& path, std::string_view text,
                        mode_t mode = 0644);

}  // namespace cohort
