// A runner that is one of two that measure a link between them. Loop thread only.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "node/runner_process.h"

namespace cohort::node {

class MeasuringRunner {
 public:
  static Result<std::unique_ptr<MeasuringRunner>> start(net::Executor executor,
                                                        const std::vector<std::string>& runner,
                                                        const runner::MeasureCommand& command);
  // Use start().
  MeasuringRunner(net::Executor executor, std::unique_ptr<RunnerProcess> process);
  ~MeasuringRunner();  // after close()

  net::Task<Result<uint16_t>> port(net::TimePoint deadline);  // where it listens
  void connect(const runner::ConnectCommand& command);
  // Until it has ended: what it measured, which of rank 1 is nothing. kCancelled as soon as `disturbed` says so.
  net::Task<Result<std::optional<runner::LinkMeasurement>>> outcome(std::function<bool()> disturbed,
                                                                    net::TimePoint deadline);
  net::Task<void> close();  // ends it

 private:
  net::Task<void> run();
  void on_frame(const runner::Frame& frame);

  std::unique_ptr<RunnerProcess> process_;
  uint16_t port_ = 0;
  std::optional<runner::LinkMeasurement> measured_;
  std::optional<Error> failure_;
  bool ended_ = false;
  net::Notification changed_;
  net::TaskGroup tasks_;
};

}  // namespace cohort::node
