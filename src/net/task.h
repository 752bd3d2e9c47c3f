// Coroutines of the loop thread. A Task starts when it is awaited or spawned; every spawned one belongs to a TaskGroup.
// Cancelling never throws: the wait that is under way ends with "cancelled", and so does every later one.
// Name what goes into a co_await expression: g++ 12 mishandles temporaries of aggregates there (destroys them twice).
#pragma once

#include <chrono>
#include <cstddef>
#include <list>
#include <vector>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "base/result.h"

namespace cohort::net {

namespace asio = boost::asio;

template <class T = void>
using Task = asio::awaitable<T>;
using Loop = asio::io_context;  // run() by one thread: the loop thread
using Executor = asio::any_io_executor;

using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;
inline constexpr TimePoint kNever = TimePoint::max();

// `auto [error, size] = co_await socket.async_read_some(buffer, kAsTuple);`
inline constexpr auto kAsTuple = asio::as_tuple(asio::use_awaitable);

enum class Wake { kNotified, kTimeout, kCancelled };

// A condition variable of the loop thread: check the condition, wait, check again.
class Notification {
 public:
  explicit Notification(Executor executor) : executor_(std::move(executor)) {}
  Notification(const Notification&) = delete;
  Notification& operator=(const Notification&) = delete;
  ~Notification();  // nobody may be waiting

  void notify_all();
  Task<Wake> wait(TimePoint deadline = kNever);
  // For clean-up that must happen although its task was cancelled.
  Task<Wake> wait_uncancelled(TimePoint deadline = kNever);

 private:
  struct Waiter;
  Task<Wake> wait_on(Waiter& waiter, bool cancellable);

  Executor executor_;
  std::vector<Waiter*> waiters_;  // they live in the frames of wait()
};

// kTimeout in the ordinary case, kCancelled when the task was cancelled before.
Task<Wake> sleep_until(TimePoint when);

// When what is done every `period` is done next after `now`: at multiples of it, so that loops of a process whose periods
// are multiples of each other wake it together. A wake costs more than most of what it is for.
constexpr TimePoint next_beat(TimePoint now, Clock::duration period) {
  return now + (period - now.time_since_epoch() % period);
}

// Owns running tasks. All have ended when the group is destroyed: join() or close() it first.
class TaskGroup {
 public:
  explicit TaskGroup(Executor executor) : executor_(executor), ended_(executor) {}
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;
  ~TaskGroup();

  void spawn(Task<void> task);
  void cancel();
  Task<void> join();   // until all have ended; new ones may be spawned meanwhile
  Task<void> close();  // cancel and join
  size_t size() const { return running_.size(); }

 private:
  Executor executor_;
  Notification ended_;
  std::list<asio::cancellation_signal> running_;
};

}  // namespace cohort::net

// COHORT_TRY for coroutines.
#define COHORT_CO_TRY(declaration, ...) \
  COHORT_CO_TRY_INNER(COHORT_CONCAT(cohort_try_, __LINE__), declaration, __VA_ARGS__)
#define COHORT_CO_TRY_INNER(result, declaration, ...)                                  \
  auto result = (__VA_ARGS__);                                                         \
  if (!result) co_return ::tl::unexpected<::cohort::Error>(std::move(result).error()); \
  declaration = std::move(*result)
#define COHORT_CO_TRY_VOID(...)                                                        \
  do {                                                                                 \
    auto cohort_try_void = (__VA_ARGS__);                                              \
    if (!cohort_try_void)                                                              \
      co_return ::tl::unexpected<::cohort::Error>(std::move(cohort_try_void).error()); \
  } while (false)
