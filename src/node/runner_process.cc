#include "node/runner_process.h"

#include <signal.h>

#include <array>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>

namespace cohort::node {
namespace {

constexpr size_t kReadBytes = 64u << 10;
constexpr std::chrono::seconds kExitGrace{2};  // from the socket's end to the process's

}  // namespace

Result<std::unique_ptr<RunnerProcess>> RunnerProcess::start(
    net::Executor executor, const std::vector<std::string>& command) {
  COHORT_TRY(net::ChildProcess child, net::ChildProcess::spawn(executor, command));
  return std::make_unique<RunnerProcess>(executor, std::move(child));
}

RunnerProcess::RunnerProcess(net::Executor executor, net::ChildProcess child)
    : child_(std::move(child)), outgoing_changed_(executor), writing_(executor) {}

void RunnerProcess::enqueue(std::string bytes) {
  if (ended_) return;
  outgoing_.push_back(std::move(bytes));
  outgoing_changed_.notify_all();
}

void RunnerProcess::kill(std::string why) {
  if (ended_) return;
  if (why_killed_.empty()) why_killed_ = std::move(why);
  child_.kill(SIGKILL);
}

net::Task<std::string> RunnerProcess::run(std::function<void(const runner::Frame&)> on_frame) {
  writing_.spawn(write_loop());
  co_await read_loop(on_frame);
  ended_ = true;
  boost::system::error_code ignored;
  child_.socket().close(ignored);
  co_await writing_.close();
  auto exit = co_await child_.wait(net::Clock::now() + kExitGrace);
  if (!exit) {
    child_.kill(SIGKILL);
    exit = co_await child_.wait(net::kNever);
  }
  co_return why_killed_.empty() ? exit->describe() : why_killed_;
}

net::Task<void> RunnerProcess::read_loop(std::function<void(const runner::Frame&)>& on_frame) {
  runner::FrameDecoder decoder;
  std::vector<char> bytes(kReadBytes);
  for (;;) {
    const auto [error, size] = co_await child_.socket().async_read_some(
        net::asio::buffer(bytes),
        net::asio::bind_cancellation_slot(net::asio::cancellation_slot(), net::kAsTuple));
    if (error) co_return;
    last_heard_ = net::Clock::now();
    decoder.append({bytes.data(), size});
    for (;;) {
      auto frame = decoder.next();
      if (!frame) {
        kill("sent what is no frame: " + frame.error().message);
        co_return;
      }
      if (!*frame) break;
      on_frame(**frame);
    }
  }
}

net::Task<void> RunnerProcess::write_loop() {
  for (;;) {
    while (outgoing_.empty()) {
      if (co_await outgoing_changed_.wait() == net::Wake::kCancelled) co_return;
    }
    const std::string bytes = std::move(outgoing_.front());
    outgoing_.pop_front();
    const auto [error, size] =
        co_await net::asio::async_write(child_.socket(), net::asio::buffer(bytes), net::kAsTuple);
    if (error) co_return;  // read_loop() sees the end as well
  }
}

}  // namespace cohort::node
