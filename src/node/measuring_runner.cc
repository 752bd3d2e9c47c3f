#include "node/measuring_runner.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace cohort::node {
namespace {

constexpr std::chrono::milliseconds kBetweenLooks{50};  // at whether something else began

}  // namespace

Result<std::unique_ptr<MeasuringRunner>> MeasuringRunner::start(
    net::Executor executor, const std::vector<std::string>& runner,
    const runner::MeasureCommand& command) {
  COHORT_TRY(auto process, RunnerProcess::start(executor, runner));
  auto started = std::make_unique<MeasuringRunner>(executor, std::move(process));
  COHORT_TRY_VOID(started->process_->send(runner::FrameType::kMeasure, command));
  started->tasks_.spawn(started->run());
  return started;
}

MeasuringRunner::MeasuringRunner(net::Executor executor, std::unique_ptr<RunnerProcess> process)
    : process_(std::move(process)), changed_(executor), tasks_(executor) {}

MeasuringRunner::~MeasuringRunner() { COHORT_CHECK(tasks_.size() == 0); }

net::Task<void> MeasuringRunner::run() {
  std::function<void(const runner::Frame&)> handle = [this](const runner::Frame& frame) {
    on_frame(frame);
  };
  const std::string how = co_await process_->run(std::move(handle));
  if (!failure_ && (how != "exited with code 0"))
    failure_ = Error{Code::kUnavailable, fmt::format("the runner that measures {}", how)};
  ended_ = true;
  changed_.notify_all();
}

void MeasuringRunner::on_frame(const runner::Frame& frame) {
  if (frame.type == runner::FrameType::kListening) {
    port_ = from_json<runner::Listening>(frame.body).value_or(runner::Listening{}).port;
  } else if (frame.type == runner::FrameType::kMeasured) {
    if (auto measured = from_json<runner::LinkMeasurement>(frame.body)) measured_ = *measured;
  } else if (frame.type == runner::FrameType::kFailed) {
    const auto failure = from_json<runner::Failure>(frame.body).value_or(runner::Failure{});
    failure_ = Error{code_from_name(failure.code), failure.message};
  }
  changed_.notify_all();
}

net::Task<Result<uint16_t>> MeasuringRunner::port(net::TimePoint deadline) {
  while (port_ == 0 && !ended_) {
    const net::Wake wake = co_await changed_.wait(deadline);
    if (wake == net::Wake::kCancelled) co_return fail(Code::kCancelled, "cancelled");
    if (wake == net::Wake::kTimeout)
      co_return fail(Code::kTimeout, "the runner that measures does not listen in time");
  }
  if (port_ != 0) co_return port_;
  co_return tl::unexpected(failure_.value_or(Error{Code::kUnavailable, "its runner ended"}));
}

void MeasuringRunner::connect(const runner::ConnectCommand& command) {
  (void)process_->send(runner::FrameType::kConnect, command);  // if it still runs
}

net::Task<Result<std::optional<runner::LinkMeasurement>>> MeasuringRunner::outcome(
    std::function<bool()> disturbed, net::TimePoint deadline) {
  while (!ended_) {
    const auto now = net::Clock::now();
    if (now >= deadline) co_return fail(Code::kTimeout, "the measurement does not end in time");
    if (disturbed()) co_return fail(Code::kCancelled, "something else needs the device");
    const net::Wake wake = co_await changed_.wait(std::min(deadline, now + kBetweenLooks));
    if (wake == net::Wake::kCancelled) co_return fail(Code::kCancelled, "cancelled");
  }
  if (failure_) co_return tl::unexpected(*failure_);
  co_return measured_;
}

net::Task<void> MeasuringRunner::close() {
  process_->kill("is needed no more");
  co_await tasks_.join();
}

}  // namespace cohort::node
