#include "hub/part_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "hub/digest.h"

namespace cohort::hub {
namespace {

namespace fs = std::filesystem;

bool has_size(const fs::path& path, uint64_t size_bytes) {
  std::error_code error;
  return fs::file_size(path, error) == size_bytes && !error;
}

tl::unexpected<Error> fail_errno(std::string_view doing, const fs::path& path) {
  return fail(Code::kUnavailable, "could not {} {}: {}", doing, path.string(),
              std::strerror(errno));
}

}  // namespace

PartFile::PartFile(const fs::path& folder, RemoteFile remote)
    : remote_(std::move(remote)),
      target_(folder / remote_.path),
      partial_(target_.string() + ".partial") {}

PartFile::PartFile(PartFile&& other) noexcept
    : remote_(std::move(other.remote_)),
      target_(std::move(other.target_)),
      partial_(std::move(other.partial_)),
      fd_(std::exchange(other.fd_, -1)) {}

PartFile::~PartFile() {
  if (fd_ >= 0) ::close(fd_);
}

bool PartFile::has_partial() const { return has_size(partial_, remote_.size_bytes); }
bool PartFile::has_complete() const { return has_size(target_, remote_.size_bytes); }

Result<void> PartFile::adopt_complete() {
  std::error_code error;
  fs::rename(target_, partial_, error);
  if (error)
    return fail(Code::kUnavailable, "could not rename {}: {}", target_.string(), error.message());
  return {};
}

Result<void> PartFile::open() {
  if (fd_ >= 0) return {};
  fd_ = ::open(partial_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (fd_ < 0) return fail_errno("open", partial_);
  if (ftruncate(fd_, static_cast<off_t>(remote_.size_bytes)) != 0)
    return fail_errno("make", partial_);
  return {};
}

Result<void> PartFile::write(uint64_t offset, std::string_view data) {
  while (!data.empty()) {
    const ssize_t written = pwrite(fd_, data.data(), data.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return fail_errno("write", partial_);
    offset += static_cast<uint64_t>(written);
    data.remove_prefix(static_cast<size_t>(written));
  }
  return {};
}

Result<bool> PartFile::verify_and_rename(std::stop_token stop) {
  COHORT_TRY_VOID(open());
  if (fsync(fd_) != 0) return fail_errno("flush", partial_);
  ::close(std::exchange(fd_, -1));
  const DigestKind kind = remote_.sha256.empty() ? DigestKind::kGitBlob : DigestKind::kSha256;
  COHORT_TRY(const std::string digest, file_digest(partial_, kind, stop));
  if (digest != checksum()) return false;
  std::error_code error;
  fs::rename(partial_, target_, error);
  if (error)
    return fail(Code::kUnavailable, "could not rename {}: {}", partial_.string(), error.message());
  return true;
}

}  // namespace cohort::hub
