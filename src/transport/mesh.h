// The links of one rank to all others, and the one loop that moves messages over them: it spins or sleeps, watches the
// deadline and every peer, and on the first error aborts all links, so that the error reaches every rank.
//
// One thread.
#pragma once

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "transport/deadline.h"
#include "transport/link.h"
#include "transport/patience.h"

namespace cohort::transport {

// Bytes on their way to a rank, cut into messages of `piece` bytes. A transfer of no bytes is one empty message.
struct Outbound {
  int rank = 0;
  std::span<const std::byte> bytes;
  size_t piece = kMaxMessageBytes;
  size_t offset = 0;  // bytes handed to the link
  bool done = false;
};

struct MeshOptions {
  std::chrono::microseconds spin_time{2000};
  const std::atomic<bool>* cancel =
      nullptr;  // set by another thread: waits end within kLongestSleep
};

class Mesh {
 public:
  static constexpr std::chrono::milliseconds kLongestSleep{
      100};  // until the peers are looked after again

  enum class Progress { kStuck, kMoved, kDone };

  // links[r] leads to rank r; the own rank's is null.
  Mesh(int rank, std::vector<std::unique_ptr<Link>> links, const MeshOptions& options);

  int rank() const { return rank_; }
  int size() const { return static_cast<int>(links_.size()); }

  // Calls step(), a Result<Progress>(), until it is done. An error (of the step, a peer, the deadline, an earlier run)
  // aborts the mesh.
  template <class Step>
  Result<void> run(Kind kind, Deadline deadline, Step step) {
    begin_run();
    if (cancelled()) abort_run(kind, cancellation());
    while (!failure_) {
      begin_round();
      Result<Progress> progress = step();
      if (progress && *progress == Progress::kDone) return {};
      if (Result<void> waited =
              progress ? after_round(*progress, deadline) : tl::unexpected(progress.error());
          !waited) {
        abort_run(kind, waited.error());
      }
    }
    return tl::unexpected(*failure_);
  }

  // The same without waiting: returns when the step is done, or stuck.
  template <class Step>
  Result<void> run_while_moving(Kind kind, Step step) {
    while (!failure_) {
      begin_round();
      const Result<Progress> progress = step();
      if (progress && *progress != Progress::kMoved) return {};
      if (!progress) abort_run(kind, progress.error());
    }
    return tl::unexpected(*failure_);
  }

  // For steps. What they are refused is what run() sleeps for.
  Result<bool> push(Kind kind,
                    Outbound& out);  // as many pieces as there is room for; true when one went out
  // The next piece from `rank`: nullopt when it is not here. Valid until release(rank).
  Result<std::optional<InMessage>> pull(Kind kind, int rank);
  void release(int rank) { links_[static_cast<size_t>(rank)]->release(); }
  // kDataLoss: `rank` sent another size than was due.
  tl::unexpected<Error> wrong_size(int rank, const InMessage& message, size_t expected) const;

  void set_idle_work(const std::function<void()>* work) { idle_work_ = work; }  // Group's

  Result<void> check();  // are all peers alive? An error aborts the mesh
  void abort(Error reason);

 private:
  void begin_run() { patience_.begin_wait(); }
  bool cancelled() const {
    return options_.cancel != nullptr && options_.cancel->load(std::memory_order_relaxed);
  }
  Error cancellation() const;
  void begin_round() { std::fill(refused_.begin(), refused_.end(), Interest{}); }
  Result<void> after_round(Progress progress, Deadline deadline);
  void abort_run(Kind kind, const Error& error);
  Result<void> wait(Deadline deadline);
  Result<void> look(Deadline deadline);
  void sleep(Deadline deadline);
  std::string awaited_peers() const;

  int rank_;
  std::vector<std::unique_ptr<Link>> links_;
  MeshOptions options_;
  Patience patience_;
  const std::function<void()>* idle_work_ = nullptr;
  std::optional<Error> failure_;
  std::vector<Interest> refused_;  // by rank, in the current round of the step
  std::vector<pollfd> sleepers_;
};

}  // namespace cohort::transport
