#include "net/task.h"

#include <algorithm>
#include <exception>
#include <utility>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>

#include "base/check.h"
#include "base/log.h"

namespace cohort::net {
namespace {

Task<void> without_throwing(Task<void> task) {
  co_await asio::this_coro::throw_if_cancelled(false);
  co_await std::move(task);
}

void report(const std::exception_ptr& error) {
  if (!error) return;
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& exception) {
    log::error("a task ended by an exception: {}", exception.what());
  } catch (...) {
    log::error("a task ended by an unknown exception");
  }
}

Task<bool> is_cancelled() {
  const asio::cancellation_state state = co_await asio::this_coro::cancellation_state;
  co_return state.cancelled() != asio::cancellation_type::none;
}

}  // namespace

struct Notification::Waiter {
  Waiter(Executor executor, TimePoint deadline) : timer(std::move(executor), deadline) {}
  asio::steady_timer timer;
  bool notified = false;
};

Notification::~Notification() { COHORT_CHECK(waiters_.empty()); }

void Notification::notify_all() {
  for (Waiter* waiter : waiters_) {
    waiter->notified = true;
    waiter->timer.cancel();
  }
}

Task<Wake> Notification::wait_on(Waiter& waiter, bool cancellable) {
  waiters_.push_back(&waiter);
  bool timed_out;
  if (cancellable) {
    const auto [error] = co_await waiter.timer.async_wait(kAsTuple);
    timed_out = !error;
  } else {
    const auto [error] = co_await waiter.timer.async_wait(
        asio::bind_cancellation_slot(asio::cancellation_slot(), kAsTuple));
    timed_out = !error;
  }
  std::erase(waiters_, &waiter);
  if (waiter.notified) co_return Wake::kNotified;
  co_return timed_out ? Wake::kTimeout : Wake::kCancelled;
}

Task<Wake> Notification::wait(TimePoint deadline) {
  if (co_await is_cancelled()) co_return Wake::kCancelled;
  Waiter waiter(executor_, deadline);
  co_return co_await wait_on(waiter, true);
}

Task<Wake> Notification::wait_uncancelled(TimePoint deadline) {
  Waiter waiter(executor_, deadline);
  co_return co_await wait_on(waiter, false);
}

Task<Wake> sleep_until(TimePoint when) {
  if (co_await is_cancelled()) co_return Wake::kCancelled;
  asio::steady_timer timer(co_await asio::this_coro::executor, when);
  const auto [error] = co_await timer.async_wait(kAsTuple);
  co_return error ? Wake::kCancelled : Wake::kTimeout;
}

TaskGroup::~TaskGroup() { COHORT_CHECK(running_.empty()); }

void TaskGroup::spawn(Task<void> task) {
  const auto entry = running_.emplace(running_.end());
  asio::co_spawn(
      executor_, without_throwing(std::move(task)),
      asio::bind_cancellation_slot(entry->slot(), [this, entry](std::exception_ptr error) {
        report(error);
        running_.erase(entry);
        if (running_.empty()) ended_.notify_all();
      }));
}

void TaskGroup::cancel() {
  for (asio::cancellation_signal& signal : running_) signal.emit(asio::cancellation_type::terminal);
}

Task<void> TaskGroup::join() {
  while (!running_.empty()) co_await ended_.wait_uncancelled();
}

Task<void> TaskGroup::close() {
  cancel();
  co_await join();
}

}  // namespace cohort::net
