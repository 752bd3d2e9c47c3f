// A test whose body is a coroutine on a loop of its own.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "base/log.h"
#include "net/task.h"
#include "runner/protocol.h"

namespace cohort::node::testing {

inline constexpr std::chrono::seconds kLongEnough{30};  // a test that waits longer has failed

inline runner::GenerateRequest ask(std::string prompt) {
  runner::GenerateRequest request;
  request.prompt = std::move(prompt);
  return request;
}

class LoopTest : public ::testing::Test {
 public:
  void SetUp() override { log::configure(log::Level::kOff, log::Format::kText, "test"); }

  void run_loop(net::Task<void> body) {
    tasks_.spawn(std::move(body));
    loop_.run();
  }

  // Polls a condition on the loop: what a runner or another device reports comes a moment later.
  net::Task<bool> eventually(std::function<bool()> condition) {
    net::Notification pause(loop_.get_executor());
    const net::TimePoint deadline = net::Clock::now() + kLongEnough;
    while (!condition()) {
      if (net::Clock::now() > deadline) co_return false;
      co_await pause.wait(net::Clock::now() + std::chrono::milliseconds(1));
    }
    co_return true;
  }

  net::Loop loop_{1};
  net::TaskGroup tasks_{loop_.get_executor()};
};

}  // namespace cohort::node::testing
