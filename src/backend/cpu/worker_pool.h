// Threads that share out the loops of a step. Between loops they spin, since the next one is microseconds away; after a
// pause they yield, then sleep, so that an idle process uses no CPU.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

namespace cohort::backend {

struct WorkerPoolOptions {
  int workers = 1;  // counting the thread that calls for_each()
  // Called again and again by workers that wait, for what takes a fraction of a microsecond.
  std::function<void(int worker)> idle = {};
  // In (0, 1]: after each call of a body a worker spins, so that it gets on at this part of its full pace.
  double pace = 1;
};

class WorkerPool {
 public:
  explicit WorkerPool(const WorkerPoolOptions& options);
  explicit WorkerPool(int workers) : WorkerPool(WorkerPoolOptions{.workers = workers}) {}
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  int workers() const { return workers_; }

  // Where a worker begins of a loop of so many grains: its own stretch.
  struct Share {
    int64_t begin = 0;
    int64_t end = 0;
  };
  static Share share_of(int64_t grains, int worker, int workers) {
    return {grains * worker / workers, grains * (worker + 1) / workers};
  }

  // Calls body(first, count, worker) for ranges that cover [0, total) once, and returns when all are done. Ranges are of
  // `grain` (the last is shorter). Each worker starts on a stretch of its own, in order, and then helps the others.
  // `worker` is in [0, workers()) and no two calls at one time have the same. Only from the owning thread, not nested.
  template <class Body>
  void for_each(int64_t total, int64_t grain, Body&& body) {
    if (pace_ == 1) return cover(total, grain, body);
    cover(total, grain, [&](int64_t first, int64_t count, int worker) {
      const auto begin = Clock::now();
      body(first, count, worker);
      hold(worker, begin);
    });
  }

 private:
  using Clock = std::chrono::steady_clock;

  template <class Body>
  void cover(int64_t total, int64_t grain, Body&& body) {
    using Plain = std::remove_reference_t<Body>;
    if (workers_ == 1 || total <= grain) {
      for (int64_t first = 0; first < total; first += grain)
        body(first, std::min(grain, total - first), 0);
      return;
    }
    run({.call = [](void* context, int64_t first, int64_t count,
                    int worker) { (*static_cast<Plain*>(context))(first, count, worker); },
         .context = const_cast<void*>(static_cast<const void*>(&body)),
         .total = total,
         .grain = grain});
  }

  struct Job {
    void (*call)(void* context, int64_t first, int64_t count, int worker) = nullptr;
    void* context = nullptr;
    int64_t total = 0;
    int64_t grain = 1;
  };
  struct alignas(64) Left {  // of one worker's share of the job, in grains
    std::atomic<int64_t> next{0};
    int64_t end = 0;
    Clock::duration owed{0};  // the worker's, to its pace
  };

  void run(const Job& job);
  void work(int worker);
  bool join();
  void serve(int worker);
  uint32_t wait_for_job(uint32_t seen, int worker) const;
  void hold(int worker, Clock::time_point begin);
  void idle(int worker) const {
    if (idle_) idle_(worker);
  }

  const int workers_;
  const std::function<void(int worker)> idle_;
  const double pace_;
  std::vector<Left> shares_;  // `end` written only while closed
  Job job_;                   // written only while closed

  // Helpers inside the job; less kClosed when none may enter. A helper that comes late finds it closed and is not waited
  // for, so a sleeping or descheduled thread delays nobody.
  alignas(64) std::atomic<int32_t> active_;
  alignas(64) std::atomic<uint32_t> generation_{0};  // of jobs; what sleepers watch
  std::atomic<bool> stop_{false};
  std::vector<std::thread> threads_;
};

}  // namespace cohort::backend
