#include "formats/mapped_file.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"

namespace cohort::formats {
namespace {

struct FileDescriptor {
  int fd;
  ~FileDescriptor() {
    if (fd >= 0) ::close(fd);
  }
};

}  // namespace

Result<MappedFile> MappedFile::open(const std::filesystem::path& path) {
  const FileDescriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  struct stat status {};
  if (file.fd < 0 || ::fstat(file.fd, &status) != 0) {
    return fail(errno == ENOENT ? Code::kNotFound : Code::kUnavailable, "cannot open {}: {}",
                path.string(), std::strerror(errno));
  }
  if (!S_ISREG(status.st_mode)) {
    return fail(Code::kInvalidArgument, "{} is not a file", path.string());
  }
  const auto size = static_cast<size_t>(status.st_size);
  if (size == 0) return fail(Code::kDataLoss, "{} is empty", path.string());
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file.fd, 0);
  if (address == MAP_FAILED) {
    return fail(Code::kUnavailable, "cannot map {} ({}): {}", path.string(), format_bytes(size),
                std::strerror(errno));
  }
  return MappedFile({static_cast<const std::byte*>(address), size});
}

MappedFile::MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

void MappedFile::release(std::span<const std::byte> range) const {
  if (range.empty()) return;
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const auto first = static_cast<size_t>(range.data() - bytes_.data()) / page * page;
  const auto last = static_cast<size_t>(range.data() - bytes_.data()) + range.size();
  ::madvise(const_cast<std::byte*>(bytes_.data()) + first, last - first, MADV_DONTNEED);
}

}  // namespace cohort::formats
