// macOS has no memfd and no seals: POSIX shared memory under a random name that is unlinked at once.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>

#include "base/bytes.h"
#include "transport/cipher.h"
#include "transport/shared_memory.h"

namespace cohort::transport {

Result<UniqueFd> create_shared_memory(size_t size_bytes) {
  std::array<std::byte, 8> random;
  COHORT_TRY_VOID(fill_random(random));
  const std::string name = fmt::format("/cohort-{:016x}", load<uint64_t>(random.data()));
  UniqueFd memory(shm_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600));
  if (memory) shm_unlink(name.c_str());
  if (!memory || ftruncate(memory.get(), static_cast<off_t>(size_bytes)) != 0) {
    return fail(Code::kUnavailable, "cannot make {} bytes of shared memory: {}", size_bytes,
                strerror(errno));
  }
  return memory;
}

Result<void> check_shared_memory(const UniqueFd& memory, size_t size_bytes) {
  struct stat info {};
  if (fstat(memory.get(), &info) != 0 ||
      info.st_size < static_cast<off_t>(size_bytes)) {  // whole pages there
    return fail(Code::kDataLoss, "the shared memory that came is not {} bytes", size_bytes);
  }
  return {};
}

}  // namespace cohort::transport
