#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "transport/shared_memory.h"

namespace cohort::transport {
namespace {

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

}  // namespace

Result<UniqueFd> create_shared_memory(size_t size_bytes) {
  UniqueFd memory(memfd_create("cohort-link", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!memory || ftruncate(memory.get(), static_cast<off_t>(size_bytes)) != 0 ||
      fcntl(memory.get(), F_ADD_SEALS, kSeals) != 0) {
    return fail(Code::kUnavailable, "cannot make {} bytes of shared memory: {}", size_bytes,
                strerror(errno));
  }
  return memory;
}

Result<void> check_shared_memory(const UniqueFd& memory, size_t size_bytes) {
  struct stat info {};
  const int seals = fcntl(memory.get(), F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0 || fstat(memory.get(), &info) != 0 ||
      info.st_size != static_cast<off_t>(size_bytes)) {
    return fail(Code::kDataLoss, "the shared memory that came is not {} sealed bytes", size_bytes);
  }
  return {};
}

}  // namespace cohort::transport
