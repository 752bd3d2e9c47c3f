#include "hub/download.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <future>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "base/bytes.h"
#include "base/log.h"
#include "hub/journal.h"
#include "hub/part_file.h"
#include "hub/remote.h"
#include "hub/retry.h"
#include "hub/transfers.h"

namespace cohort::hub {
namespace {

using Clock = std::chrono::steady_clock;

constexpr Milliseconds kTick{20};
constexpr Milliseconds kReportEvery{100};
constexpr uint64_t kMaxChunks = 1 << 16;        // of one file
constexpr int kMaxCorruptCopies = 2;            // of one file
constexpr uint64_t kProgressBytes = 64u << 10;  // an attempt that got so far did get on

struct Chunk {
  size_t file;
  uint64_t index, offset, size_bytes;
  uint64_t received_bytes = 0;
  int failures = 0;
  Clock::time_point not_before{};
};

struct Download {
  explicit Download(PartFile part) : file(std::move(part)) {}

  PartFile file;
  uint64_t chunk_bytes = 0;
  size_t chunks_left = 0, chunks_running = 0;
  uint64_t done_bytes = 0;  // of whole chunks
  bool whole = false;       // the server ignores ranges
  std::string direct_url;   // where the hub's redirect led; used until it fails
  std::future<Result<bool>> verdict;
  int corrupt_copies = 0;
  bool done = false;
};

// One pull; one thread, but for checksums.
class Puller {
 public:
  Puller(std::filesystem::path folder, std::string repository, const PullOptions& options)
      : folder_(std::move(folder)),
        repository_(std::move(repository)),
        options_(options),
        transfers_(options.hub) {}
  ~Puller() {
    verifying_.request_stop();
    for (const auto& download : downloads_) {
      if (download->verdict.valid()) download->verdict.wait();
    }
  }
  Puller(const Puller&) = delete;

  Result<void> run(std::vector<RemoteFile> files);

 private:
  Result<void> prepare(std::vector<RemoteFile> files);
  Result<void> prepare_file(Download& download, size_t index);
  Result<void> begin(Download& download, uint64_t chunk_bytes);
  Result<void> restart(Download& download, size_t index, uint64_t chunk_bytes);
  void queue_chunks(Download& download, size_t index, const std::set<uint64_t>& written);
  Result<void> start_ready();
  Result<void> start(Chunk chunk);
  bool take(Chunk& chunk, std::string_view data);
  Result<void> settle(Chunk chunk, const TransferResult& result);
  Result<void> settle_without_ranges(Chunk chunk);
  Result<void> retry(Chunk chunk, const TransferResult& result);
  Result<void> chunk_done(const Chunk& chunk, const TransferResult& result);
  void verify(Download& download);
  Result<void> collect_verdicts();
  uint64_t done_bytes() const;
  void report(bool now);
  bool finished() const { return files_done_ == downloads_.size(); }

  const std::filesystem::path folder_;
  const std::string repository_;
  const PullOptions& options_;
  std::unique_ptr<Journal> journal_;
  std::vector<std::unique_ptr<Download>> downloads_;
  std::deque<Chunk> waiting_;
  std::map<uint64_t, Chunk> running_;  // by transfer id; on_data points in here
  uint64_t next_id_ = 0;
  Result<void> disk_;  // why data could not be written
  Clock::time_point quiet_until_{};
  std::stop_source verifying_;
  size_t files_done_ = 0;
  PullProgress progress_;
  Clock::time_point began_ = Clock::now(), reported_{};
  Transfers transfers_;  // dies first: its callbacks use the rest
};

Result<void> Puller::prepare(std::vector<RemoteFile> files) {
  COHORT_TRY(Journal journal, Journal::open(folder_));
  journal_ = std::make_unique<Journal>(std::move(journal));
  // Small files first: a folder with its config and no weights says more than the reverse.
  std::stable_sort(files.begin(), files.end(), [](const RemoteFile& a, const RemoteFile& b) {
    return a.size_bytes < b.size_bytes;
  });
  for (RemoteFile& remote : files) {
    progress_.total_bytes += remote.size_bytes;
    downloads_.push_back(std::make_unique<Download>(PartFile(folder_, std::move(remote))));
  }
  progress_.files_total = downloads_.size();
  for (size_t i = 0; i < downloads_.size(); ++i) COHORT_TRY_VOID(prepare_file(*downloads_[i], i));
  return check_free_space(folder_, progress_.total_bytes - done_bytes());
}

Result<void> Puller::prepare_file(Download& download, size_t index) {
  const RemoteFile& remote = download.file.remote();
  const Journal::File* known = journal_->find(remote.path);
  const bool same = known && known->checksum == download.file.checksum() &&
                    known->size_bytes == remote.size_bytes;
  if (same && known->done && download.file.has_complete()) {
    download.done_bytes = remote.size_bytes;
    download.done = true;
    ++files_done_;
    return {};
  }
  if (!download.file.has_partial() && download.file.has_complete()) {
    COHORT_TRY_VOID(download.file.adopt_complete());
    COHORT_TRY_VOID(begin(download, options_.hub.chunk_bytes));
    download.done_bytes = remote.size_bytes;
    verify(download);
    return {};
  }
  const bool sound = same && !known->done && known->chunk_bytes > 0 &&
                     divide_up(remote.size_bytes, known->chunk_bytes) <= kMaxChunks;
  if (!sound || !download.file.has_partial()) {
    return restart(download, index, options_.hub.chunk_bytes);
  }
  download.chunk_bytes = known->chunk_bytes;
  queue_chunks(download, index, known->chunks);
  return {};
}

Result<void> Puller::begin(Download& download, uint64_t chunk_bytes) {
  const RemoteFile& remote = download.file.remote();
  download.chunk_bytes =
      std::max<uint64_t>({chunk_bytes, 1, divide_up(remote.size_bytes, kMaxChunks)});
  return journal_->begin(remote.path, {.checksum = download.file.checksum(),
                                       .size_bytes = remote.size_bytes,
                                       .chunk_bytes = download.chunk_bytes});
}

Result<void> Puller::restart(Download& download, size_t index, uint64_t chunk_bytes) {
  COHORT_TRY_VOID(begin(download, chunk_bytes));
  queue_chunks(download, index, {});
  return {};
}

void Puller::queue_chunks(Download& download, size_t index, const std::set<uint64_t>& written) {
  const uint64_t size = download.file.remote().size_bytes;
  download.chunks_left = 0;
  download.done_bytes = 0;
  for (uint64_t offset = 0, number = 0; offset < size; offset += download.chunk_bytes, ++number) {
    const uint64_t chunk_size = std::min(download.chunk_bytes, size - offset);
    if (written.contains(number)) {
      download.done_bytes += chunk_size;
      continue;
    }
    waiting_.push_back(
        {.file = index, .index = number, .offset = offset, .size_bytes = chunk_size});
    ++download.chunks_left;
  }
  if (download.chunks_left == 0) verify(download);  // nothing is missing but the check
}

Result<void> Puller::start_ready() {
  const Clock::time_point now = Clock::now();
  if (now < quiet_until_) return {};
  for (size_t looked_at = waiting_.size();
       looked_at > 0 && running_.size() < static_cast<size_t>(options_.hub.connections);
       --looked_at) {
    Chunk chunk = waiting_.front();
    waiting_.pop_front();
    if (now < chunk.not_before) {
      waiting_.push_back(chunk);
    } else {
      COHORT_TRY_VOID(start(chunk));
    }
  }
  return {};
}

Result<void> Puller::start(Chunk chunk) {
  Download& download = *downloads_[chunk.file];
  COHORT_TRY_VOID(download.file.open());
  if (download.whole) chunk.received_bytes = 0;
  const uint64_t id = next_id_++;
  Chunk& running = running_.emplace(id, chunk).first->second;
  ++download.chunks_running;
  TransferRequest request;
  const bool direct = !download.direct_url.empty();
  request.url = direct ? download.direct_url
                       : file_url(repository_, download.file.remote().path, options_.hub);
  request.with_token = !direct;
  const bool all =
      running.received_bytes == 0 && running.size_bytes == download.file.remote().size_bytes;
  if (!all) {
    request.range = {running.offset + running.received_bytes,
                     running.offset + running.size_bytes - 1};
  }
  request.on_data = [this, &running](std::string_view data) { return take(running, data); };
  transfers_.start(id, std::move(request));
  return {};
}

bool Puller::take(Chunk& chunk, std::string_view data) {
  if (data.size() > chunk.size_bytes - chunk.received_bytes) return false;  // more than there is
  disk_ = downloads_[chunk.file]->file.write(chunk.offset + chunk.received_bytes, data);
  if (!disk_) return false;
  chunk.received_bytes += data.size();
  progress_.session_bytes += data.size();
  return true;
}

Result<void> Puller::settle(Chunk chunk, const TransferResult& result) {
  COHORT_TRY_VOID(disk_);
  Download& download = *downloads_[chunk.file];
  --download.chunks_running;
  if (result.range_ignored && !download.whole) {
    download.whole = true;
    std::erase_if(waiting_, [&](const Chunk& other) { return other.file == chunk.file; });
  }
  if (download.whole && chunk.size_bytes != download.file.remote().size_bytes)
    return settle_without_ranges(chunk);
  const bool complete = chunk.received_bytes == chunk.size_bytes;
  return complete ? chunk_done(chunk, result) : retry(chunk, result);
}

// The chunks of a file all end before it starts again in one piece.
Result<void> Puller::settle_without_ranges(Chunk chunk) {
  Download& download = *downloads_[chunk.file];
  if (download.chunks_running > 0) return {};
  log::info("{} sends {} only as a whole", options_.hub.endpoint, download.file.remote().path);
  return restart(download, chunk.file, download.file.remote().size_bytes);
}

Result<void> Puller::retry(Chunk chunk, const TransferResult& result) {
  Download& download = *downloads_[chunk.file];
  const bool stale_address = !download.direct_url.empty() && result.status >= 400;
  download.direct_url.clear();
  const bool got_on = !download.whole && result.received_bytes >= kProgressBytes;
  if (got_on || stale_address) chunk.failures = 0;
  TransferResult judged = result;
  if (judged.error.empty() && judged.status < 400) {
    judged.error = fmt::format("{} of {} bytes came", chunk.received_bytes, chunk.size_bytes);
  }
  if (stale_address) judged.status = 500;  // says nothing about the hub itself
  Verdict verdict =
      judge(judged, chunk.failures, repository_ + "/" + download.file.remote().path, options_.hub);
  if (verdict.kind == Verdict::Kind::kFail) return tl::unexpected<Error>(std::move(verdict.error));
  ++chunk.failures;
  chunk.not_before = Clock::now() + verdict.wait;
  if (verdict.all_wait) quiet_until_ = std::max(quiet_until_, chunk.not_before);
  log::debug("{}; again in {} ms", verdict.error.message, verdict.wait.count());
  waiting_.push_back(chunk);
  return {};
}

Result<void> Puller::chunk_done(const Chunk& chunk, const TransferResult& result) {
  Download& download = *downloads_[chunk.file];
  download.direct_url =
      result.effective_url.starts_with(options_.hub.endpoint + "/") ? "" : result.effective_url;
  download.done_bytes += chunk.size_bytes;
  COHORT_TRY_VOID(journal_->chunk_written(download.file.remote().path, chunk.index));
  if (--download.chunks_left == 0) verify(download);
  return {};
}

void Puller::verify(Download& download) {
  download.verdict =
      std::async(std::launch::async, [file = &download.file, stop = verifying_.get_token()] {
        return file->verify_and_rename(stop);
      });
}

Result<void> Puller::collect_verdicts() {
  for (size_t i = 0; i < downloads_.size(); ++i) {
    Download& download = *downloads_[i];
    if (!download.verdict.valid() ||
        download.verdict.wait_for(Milliseconds(0)) != std::future_status::ready)
      continue;
    COHORT_TRY(const bool right, download.verdict.get());
    const RemoteFile& remote = download.file.remote();
    if (right) {
      download.done = true;
      ++files_done_;
      COHORT_TRY_VOID(journal_->done(remote.path));
      continue;
    }
    if (++download.corrupt_copies >= kMaxCorruptCopies) {
      return fail(Code::kDataLoss, "{}/{}: {} copies had a wrong checksum", repository_,
                  remote.path, download.corrupt_copies);
    }
    log::warn("{}/{} has a wrong checksum; downloading it again", repository_, remote.path);
    COHORT_TRY_VOID(
        restart(download, i, download.whole ? remote.size_bytes : options_.hub.chunk_bytes));
  }
  return {};
}

uint64_t Puller::done_bytes() const {
  uint64_t done = 0;
  for (const auto& download : downloads_) done += download->done_bytes;
  for (const auto& [id, chunk] : running_) done += chunk.received_bytes;
  for (const Chunk& chunk : waiting_) done += chunk.received_bytes;
  return done;
}

void Puller::report(bool now) {
  const Clock::time_point time = Clock::now();
  if (!options_.progress || (!now && time - reported_ < kReportEvery)) return;
  reported_ = time;
  const double seconds = std::chrono::duration<double>(time - began_).count();
  PullProgress shown = progress_;
  shown.done_bytes = done_bytes();
  shown.bytes_per_second = seconds > 0 ? static_cast<double>(shown.session_bytes) / seconds : 0;
  shown.files_done = files_done_;
  options_.progress(shown);
}

Result<void> Puller::run(std::vector<RemoteFile> files) {
  COHORT_TRY_VOID(prepare(std::move(files)));
  while (!finished()) {
    if (options_.stop.stop_requested()) return fail(Code::kCancelled, "{}: cancelled", repository_);
    COHORT_TRY_VOID(start_ready());
    for (auto& [id, result] : transfers_.wait(kTick)) {
      const Chunk chunk = running_.at(id);
      running_.erase(id);
      COHORT_TRY_VOID(settle(chunk, result));
    }
    COHORT_TRY_VOID(collect_verdicts());
    report(false);
  }
  report(true);
  return journal_->finish();
}

}  // namespace

Result<StoredModel> pull(const Store& store, const std::string& name, const PullOptions& options) {
  COHORT_TRY(const ModelName model, parse_model_name(name));
  if (model.kind != ModelName::Kind::kRepository) {
    return fail(Code::kInvalidArgument, "{} is on this device; there is nothing to download", name);
  }
  auto present = store.find(name);
  if (present && (!present->removable || options.hub.offline)) return present;
  COHORT_TRY(const auto listed, list_files(model.repository, options.hub, options.stop));
  COHORT_TRY(auto files, needed_files(listed, model.repository));
  Puller puller(store.folder_of(model.repository), model.repository, options);
  COHORT_TRY_VOID(puller.run(std::move(files)));
  return store.find(name);
}

}  // namespace cohort::hub
