#include "base/files.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

namespace cohort {
namespace {

// 0, or the errno of what failed.
int write_all(int file, std::string_view text) {
  while (!text.empty()) {
    const ssize_t count = ::write(file, text.data(), text.size());
    if (count < 0 && errno != EINTR) return errno;
    if (count > 0) text.remove_prefix(static_cast<size_t>(count));
  }
  return ::fsync(file) == 0 ? 0 : errno;
}

}  // namespace

Result<void> write_file(const std::filesystem::path& path, std::string_view text, mode_t mode) {
  std::error_code ignored;
  if (path.has_parent_path()) std::filesystem::create_directories(path.parent_path(), ignored);
  const std::string temporary = fmt::format("{}.{}", path.string(), ::getpid());
  const int file = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
  int cause = file < 0 ? errno : write_all(file, text);
  if (file >= 0) ::close(file);
  if (cause == 0 && ::rename(temporary.c_str(), path.c_str()) != 0) cause = errno;
  if (cause == 0) return {};
  if (file >= 0) ::unlink(temporary.c_str());
  return fail(Code::kUnavailable, "cannot write {}: {}", path.string(), std::strerror(cause));
}

}  // namespace cohort
