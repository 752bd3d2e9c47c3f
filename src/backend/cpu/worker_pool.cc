#include "backend/cpu/worker_pool.h"

#include <algorithm>
#include <chrono>

#include "base/bytes.h"
#include "base/check.h"

namespace cohort::backend {
namespace {

constexpr int32_t kClosed = 1 << 30;
constexpr int kSpinsBetweenLooks = 64;                  // at the clock
constexpr std::chrono::microseconds kSpinTime{100};     // a step's loops follow each other faster
constexpr std::chrono::microseconds kYieldTime{2'000};  // from one step to the next
constexpr std::chrono::microseconds kHeldAtOnce{50};

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb");
#endif
}

// Spins while `waiting()`, then yields its core; false when it was still waiting after `give_up`.
template <class Waiting>
bool spin_while(Waiting waiting, std::chrono::microseconds give_up) {
  using Clock = std::chrono::steady_clock;
  for (int i = 0; i < kSpinsBetweenLooks; ++i) {
    if (!waiting()) return true;
    pause();
  }
  const Clock::time_point start = Clock::now();
  while (true) {
    const auto waited = Clock::now() - start;
    if (waited > give_up) return false;
    if (waited > kSpinTime) std::this_thread::yield();
    for (int i = 0; i < kSpinsBetweenLooks; ++i) {
      if (!waiting()) return true;
      pause();
    }
  }
}

}  // namespace

WorkerPool::WorkerPool(const WorkerPoolOptions& options)
    : workers_(options.workers),
      idle_(options.idle),
      pace_(options.pace),
      shares_(static_cast<size_t>(workers_)),
      active_(-kClosed) {
  COHORT_CHECK(workers_ >= 1 && pace_ > 0 && pace_ <= 1);
  for (int worker = 1; worker < workers_; ++worker) {
    threads_.emplace_back([this, worker] { serve(worker); });
  }
}

WorkerPool::~WorkerPool() {
  stop_.store(true, std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void WorkerPool::run(const Job& job) {
  const int64_t grains = divide_up(job.total, job.grain);
  for (int w = 0; w < workers_; ++w) {
    const Share share = share_of(grains, w, workers_);
    shares_[w].next.store(share.begin, std::memory_order_relaxed);
    shares_[w].end = share.end;
  }
  job_ = job;
  active_.store(0, std::memory_order_release);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  work(0);
  active_.fetch_sub(kClosed, std::memory_order_acq_rel);
  const auto helpers_inside = [this] {
    idle(0);
    return active_.load(std::memory_order_acquire) != -kClosed;
  };
  while (!spin_while(helpers_inside, kYieldTime)) {
  }
}

// Does grains of the worker's own share, then of the others'.
void WorkerPool::work(int worker) {
  for (int i = 0; i < workers_; ++i) {
    Left& share = shares_[(worker + i) % workers_];
    while (true) {
      const int64_t grain = share.next.fetch_add(1, std::memory_order_relaxed);
      if (grain >= share.end) break;
      const int64_t first = grain * job_.grain;
      job_.call(job_.context, first, std::min(job_.grain, job_.total - first), worker);
    }
  }
}

// Of a call that began then. Not after each: reading memory takes a while to get under way again.
void WorkerPool::hold(int worker, Clock::time_point begin) {
  const auto now = Clock::now();
  Clock::duration& owed = shares_[static_cast<size_t>(worker)].owed;
  owed += std::chrono::duration_cast<Clock::duration>((now - begin) * (1 / pace_ - 1));
  if (owed < kHeldAtOnce) return;
  while (Clock::now() < now + owed) pause();
  owed = {};
}

bool WorkerPool::join() {
  int32_t active = active_.load(std::memory_order_relaxed);
  while (active >= 0) {
    if (active_.compare_exchange_weak(active, active + 1, std::memory_order_acquire,
                                      std::memory_order_relaxed)) {
      return true;
    }
  }
  return false;
}

void WorkerPool::serve(int worker) {
  uint32_t seen = 0;
  while (true) {
    seen = wait_for_job(seen, worker);
    if (stop_.load(std::memory_order_relaxed)) return;
    if (!join()) continue;
    work(worker);
    active_.fetch_sub(1, std::memory_order_release);
  }
}

uint32_t WorkerPool::wait_for_job(uint32_t seen, int worker) const {
  const auto none_yet = [&] {
    idle(worker);
    return generation_.load(std::memory_order_acquire) == seen;
  };
  while (!spin_while(none_yet, kYieldTime)) generation_.wait(seen, std::memory_order_acquire);
  return generation_.load(std::memory_order_acquire);
}

}  // namespace cohort::backend
