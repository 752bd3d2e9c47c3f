// A few threads for calls that block (files, name resolution, downloads), so that the loop thread never does.
#pragma once

#include <optional>
#include <type_traits>
#include <utility>

#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>

#include "net/task.h"

namespace cohort::net {

class BlockingPool {
 public:
  // Threads start with the first call. Calls beyond `threads` wait their turn.
  BlockingPool(Executor loop, size_t threads) : loop_(std::move(loop)), threads_(threads) {}

  // Runs `work()` on a thread of the pool. Cancelling the caller does not interrupt it: give long work a std::stop_token.
  template <class Work>
  Task<std::invoke_result_t<Work>> run(Work work) {
    if (!pool_) pool_.emplace(threads_);
    std::optional<std::invoke_result_t<Work>> result;
    Notification done(loop_);
    asio::post(*pool_, [this, &result, &done, work = std::move(work)]() mutable {
      asio::post(loop_, [&result, &done, value = work()]() mutable {
        result.emplace(std::move(value));
        done.notify_all();
      });
    });
    while (!result) co_await done.wait_uncancelled();
    co_return std::move(*result);
  }

 private:
  Executor loop_;
  size_t threads_;
  std::optional<asio::thread_pool> pool_;
};

}  // namespace cohort::net
