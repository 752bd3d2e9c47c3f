// A file being downloaded: <target>.partial, written in chunks in any order, and renamed once its checksum is right.
#pragma once

#include <cstdint>
#include <filesystem>
#include <stop_token>
#include <string>
#include <string_view>

#include "base/result.h"
#include "hub/remote.h"

namespace cohort::hub {

class PartFile {
 public:
  PartFile(const std::filesystem::path& folder, RemoteFile remote);
  PartFile(PartFile&& other) noexcept;
  PartFile& operator=(PartFile&&) = delete;
  ~PartFile();

  const RemoteFile& remote() const { return remote_; }
  bool has_partial() const;   // of the right size
  bool has_complete() const;  // of the right size
  // Gives a complete file that nobody vouches for its partial name again, to be verified.
  Result<void> adopt_complete();
  const std::string& checksum() const {
    return remote_.sha256.empty() ? remote_.git_sha1 : remote_.sha256;
  }

  Result<void> open();  // makes the partial file, as long as the whole one; no-op when open
  Result<void> write(uint64_t offset, std::string_view data);
  // Flushes to disk, compares the checksum and renames; false when the checksum is wrong. Long; any thread.
  Result<bool> verify_and_rename(std::stop_token stop);

 private:
  RemoteFile remote_;
  std::filesystem::path target_, partial_;
  int fd_ = -1;
};

}  // namespace cohort::hub
