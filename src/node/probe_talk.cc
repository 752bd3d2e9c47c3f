#include "node/probe_talk.h"

#include <utility>

#include "base/check.h"
#include "runner/protocol.h"

namespace cohort::node {
namespace {

constexpr std::chrono::seconds kWriteTimeout{5};
constexpr std::chrono::seconds kRequestTimeout{10};

Error gone() { return {Code::kCancelled, "the other device broke off"}; }
Error silent() { return {Code::kCancelled, "the other device says nothing"}; }

}  // namespace

std::string probe_message(const char* type) { return dump_json(to_json(ShardMessage{type})); }

std::string probe_failure(const Error& error) {
  return probe_message("failed",
                       runner::Failure{std::string(code_name(error.code)), error.message});
}

ProbeTalk::ProbeTalk(net::Executor executor, mesh::Stream& stream)
    : stream_(stream), changed_(executor), tasks_(executor) {}

ProbeTalk::~ProbeTalk() { COHORT_CHECK(tasks_.size() == 0); }

net::Task<Result<void>> ProbeTalk::say(std::string message) {
  const net::TimePoint deadline = net::Clock::now() + kWriteTimeout;
  const Result<void> written = co_await stream_.write(std::move(message), deadline);
  if (!written) co_return tl::unexpected(gone());
  co_return Result<void>{};
}

net::Task<Result<ProbeRequest>> ProbeTalk::hear_request() {
  const net::TimePoint deadline = net::Clock::now() + kRequestTimeout;
  const auto received = co_await stream_.read(deadline);
  if (!received || !*received) co_return tl::unexpected(gone());
  co_return read_json<ProbeRequest>(**received);
}

net::Task<Result<ShardMessage>> ProbeTalk::read(net::TimePoint deadline) {
  const auto received = co_await stream_.read(deadline);
  if (!received && received.error().code == Code::kTimeout) co_return tl::unexpected(silent());
  if (!received || !*received) co_return tl::unexpected(gone());
  COHORT_CO_TRY(ShardMessage message, read_json<ShardMessage>(**received));
  if (message.type == "busy")
    co_return fail(Code::kCancelled, "the other device has something else to do");
  if (message.type != "failed") co_return message;
  COHORT_CO_TRY(const auto failure, from_json<runner::Failure>(message.body));
  co_return tl::unexpected(Error{code_from_name(failure.code), failure.message});
}

void ProbeTalk::listen() {
  COHORT_CHECK(!listening_);
  listening_ = true;
  tasks_.spawn(keep_next());
}

net::Task<void> ProbeTalk::keep_next() {
  heard_ = co_await read(net::kNever);
  changed_.notify_all();
}

net::Task<Result<ShardMessage>> ProbeTalk::hear(std::chrono::seconds patience) {
  const net::TimePoint deadline = net::Clock::now() + patience;
  if (!listening_) co_return co_await read(deadline);
  while (!heard_) {
    const net::Wake wake = co_await changed_.wait(deadline);
    if (wake == net::Wake::kCancelled) co_return fail(Code::kCancelled, "cancelled");
    if (wake == net::Wake::kTimeout) co_return tl::unexpected(silent());
  }
  listening_ = false;
  Result<ShardMessage> next = *std::exchange(heard_, std::nullopt);
  co_return next;
}

net::Task<void> ProbeTalk::close() { co_await tasks_.close(); }

}  // namespace cohort::node
