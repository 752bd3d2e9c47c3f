#include "hub/journal.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>

namespace cohort::hub {
namespace {

namespace fs = std::filesystem;

std::string read_whole(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

}  // namespace

Result<Journal> Journal::open(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error)
    return fail(Code::kUnavailable, "could not create {}: {}", folder.string(), error.message());
  const fs::path path = folder / kUnfinished;
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd < 0)
    return fail(Code::kUnavailable, "could not open {}: {}", path.string(), std::strerror(errno));
  Journal journal(folder, fd);
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    return fail(Code::kUnavailable, "{} is being downloaded by another process", folder.string());
  }
  const std::string finished = read_whole(folder / kFinished), text = read_whole(path);
  journal.replay(finished);                   // an update keeps what did not change
  const size_t whole = text.rfind('\n') + 1;  // npos + 1 is 0
  journal.replay(std::string_view(text).substr(0, whole));
  if (ftruncate(fd, static_cast<off_t>(whole)) != 0) {
    return fail(Code::kUnavailable, "could not shorten {}: {}", path.string(),
                std::strerror(errno));
  }
  return journal;
}

Journal::Journal(Journal&& other) noexcept
    : folder_(std::move(other.folder_)),
      fd_(std::exchange(other.fd_, -1)),
      files_(std::move(other.files_)) {}

Journal::~Journal() {
  if (fd_ >= 0) ::close(fd_);
}

void Journal::replay(std::string_view text) {
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    replay_line(text.substr(begin, end - begin));
    begin = end + 1;
  }
}

void Journal::replay_line(std::string_view line) {
  std::istringstream words{std::string(line)};
  std::string kind, path;
  words >> kind;
  File file;
  uint64_t chunk = 0;
  if (kind == "file") words >> file.checksum >> file.size_bytes >> file.chunk_bytes;
  if (kind == "chunk") words >> chunk;
  words.get();  // the space; the path may hold spaces of its own
  std::getline(words, path);
  if (path.empty()) return;
  if (kind == "file") {
    files_[path] = std::move(file);
  } else if (kind == "chunk") {
    files_[path].chunks.insert(chunk);
  } else if (kind == "done") {
    files_[path].done = true;
  }
}

const Journal::File* Journal::find(const std::string& path) const {
  const auto found = files_.find(path);
  return found == files_.end() ? nullptr : &found->second;
}

// One write() a line, so that a killed process tears at most the last one.
Result<void> Journal::append(std::string_view line) {
  const std::string text = std::string(line) + "\n";
  if (::write(fd_, text.data(), text.size()) == static_cast<ssize_t>(text.size())) return {};
  return fail(Code::kUnavailable, "could not write {}: {}", (folder_ / kUnfinished).string(),
              std::strerror(errno));
}

Result<void> Journal::begin(const std::string& path, const File& file) {
  files_[path] = file;
  files_[path].chunks.clear();
  files_[path].done = false;
  return append(
      fmt::format("file {} {} {} {}", file.checksum, file.size_bytes, file.chunk_bytes, path));
}

Result<void> Journal::chunk_written(const std::string& path, uint64_t index) {
  files_[path].chunks.insert(index);
  return append(fmt::format("chunk {} {}", index, path));
}

Result<void> Journal::done(const std::string& path) {
  files_[path].done = true;
  return append(fmt::format("done {}", path));
}

Result<void> Journal::finish() {
  std::ofstream out(folder_ / kFinished, std::ios::binary | std::ios::trunc);
  for (const auto& [path, file] : files_) {
    if (!file.done) continue;
    out << fmt::format("file {} {} {} {}\ndone {}\n", file.checksum, file.size_bytes,
                       file.chunk_bytes, path, path);
  }
  out.close();
  std::error_code error;
  fs::remove(folder_ / kUnfinished, error);
  if (!out || error)
    return fail(Code::kUnavailable, "could not finish {}", (folder_ / kUnfinished).string());
  return {};
}

}  // namespace cohort::hub
