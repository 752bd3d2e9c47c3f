#include "runner/inbox.h"

#include <utility>

namespace cohort::runner {

void Inbox::push(Work work) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return closed_ || work_.size() < kCapacity; });
  if (closed_) return;
  work_.push_back(std::move(work));
  changed_.notify_all();
}

std::vector<Work> Inbox::take(std::chrono::milliseconds longest_wait) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, longest_wait, [this] { return closed_ || !work_.empty(); });
  if (!work_.empty()) changed_.notify_all();
  return std::exchange(work_, {});
}

void Inbox::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

bool Inbox::closed() const {
  const std::lock_guard lock(mutex_);
  return closed_;
}

}  // namespace cohort::runner
