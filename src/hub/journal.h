// What of a download is already on disk, so that it can be resumed after a crash. Lives in the model's folder: under
// kUnfinished while the download goes on (its suffix marks the folder as incomplete), under kFinished afterwards.
//
// A text file that only grows; a line is one of
//   file <checksum> <size> <chunk bytes> <path>     a download began, or began anew
//   chunk <index> <path>                            these bytes of <path>.partial are written
//   done <path>                                     verified and in place
// The last line may be torn by a crash and is ignored then.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "base/result.h"

namespace cohort::hub {

class Journal {
 public:
  static constexpr std::string_view kUnfinished = ".download.partial", kFinished = ".download";

  struct File {
    std::string checksum;
    uint64_t size_bytes = 0, chunk_bytes = 0;
    std::set<uint64_t> chunks;
    bool done = false;
  };

  // Reads what is there and takes the folder for this process until the journal goes; kUnavailable when another
  // download has it.
  static Result<Journal> open(const std::filesystem::path& folder);
  Journal(Journal&& other) noexcept;
  Journal& operator=(Journal&&) = delete;
  ~Journal();

  const File* find(const std::string& path) const;
  Result<void> begin(const std::string& path, const File& file);
  Result<void> chunk_written(const std::string& path, uint64_t index);
  Result<void> done(const std::string& path);
  Result<void> finish();  // everything is in place

 private:
  Journal(std::filesystem::path folder, int fd) : folder_(std::move(folder)), fd_(fd) {}
  void replay(std::string_view text);
  void replay_line(std::string_view line);
  Result<void> append(std::string_view line);

  std::filesystem::path folder_;
  int fd_;  // of the unfinished journal, locked
  std::map<std::string, File> files_;
};

}  // namespace cohort::hub
