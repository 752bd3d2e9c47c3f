// A file mapped for reading.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

#include "base/result.h"

namespace cohort::formats {

// Owns the mapping. The file must not be truncated while it is mapped (the OS answers a read with a signal).
class MappedFile {
 public:
  static Result<MappedFile> open(const std::filesystem::path& path);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return bytes_; }

  // Tells the OS that `range`, a part of bytes(), need not stay in memory. Widened to whole pages; harmless to neighbours,
  // whose next read brings the page back.
  void release(std::span<const std::byte> range) const;

 private:
  explicit MappedFile(std::span<const std::byte> bytes) : bytes_(bytes) {}
  std::span<const std::byte> bytes_;
};

}  // namespace cohort::formats
