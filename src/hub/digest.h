// Checksums of files as the hub states them.
#pragma once

#include <filesystem>
#include <stop_token>
#include <string>

#include "base/result.h"

namespace cohort::hub {

enum class DigestKind { kSha256, kGitBlob };

// Lower-case hexadecimal. Reads the whole file; kCancelled when asked to stop.
Result<std::string> file_digest(const std::filesystem::path& path, DigestKind kind,
                                std::stop_token stop = {});

}  // namespace cohort::hub
