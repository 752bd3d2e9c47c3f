#include "node/remote_generation.h"

namespace cohort::node {
namespace {

constexpr std::chrono::seconds kRequestTimeout{10};
constexpr std::chrono::seconds kWriteTimeout{30};  // to a reader that is slow
constexpr std::chrono::milliseconds kLookAfterPeer{500};

Error to_error(const runner::Failure& failure) {
  return {code_from_name(failure.code), failure.message};
}

runner::Failure to_failure(const Error& error) {
  return {std::string(code_name(error.code)), error.message};
}

}  // namespace

// ---- the asking side ----

RemoteGeneration::RemoteGeneration(net::Executor executor, mesh::Mesh& mesh, std::string device,
                                   std::string instance, Generation& generation)
    : mesh_(mesh),
      device_(std::move(device)),
      instance_(std::move(instance)),
      generation_(&generation),
      drained_(executor),
      tasks_(executor) {
  generation.set_owner(this);
}

void RemoteGeneration::on_dropped(Generation&) {
  generation_ = nullptr;
  tasks_.cancel();
  drained_.notify_all();
}

void RemoteGeneration::abandon(const Error& error) {
  if (generation_ == nullptr) return;
  generation_->set_owner(nullptr);
  generation_->fail(error);
}

void RemoteGeneration::on_drained(Generation&) { drained_.notify_all(); }

net::Task<void> RemoteGeneration::run() {
  for (Generation::Part& part : generation_->parts_left()) {
    tasks_.spawn(run_choices(std::move(part.request), part.first_choice));
  }
  co_await tasks_.join();
  if (generation_ == nullptr) co_return;
  generation_->set_owner(nullptr);
  const bool is_lost = why_ && why_->code == Code::kUnavailable;
  if (why_ && !is_lost) generation_->fail(*why_);
  if (!is_lost) generation_ = nullptr;
}

net::Task<void> RemoteGeneration::run_choices(runner::GenerateRequest request,
                                              int32_t first_choice) {
  const Result<void> done = co_await relay(std::move(request), first_choice);
  if (done || why_) co_return;
  why_ = done.error();
  tasks_.cancel();
}

net::Task<Result<void>> RemoteGeneration::relay(runner::GenerateRequest request,
                                                int32_t first_choice) {
  int32_t unfinished = request.choices;
  COHORT_CO_TRY(const auto stream, co_await mesh_.open_stream(device_, kGenerateStream,
                                                              net::Clock::now() + kRequestTimeout));
  std::string text = dump_json(to_json(RemoteRequest{instance_, std::move(request)}));
  COHORT_CO_TRY_VOID(co_await stream->write(std::move(text), net::Clock::now() + kWriteTimeout));
  while (unfinished > 0) {
    auto received = co_await stream->read(net::kNever);
    if (!received) co_return tl::unexpected(received.error());
    if (!*received) co_return fail(Code::kUnavailable, "the device that worked on it ended early");
    COHORT_CO_TRY(auto reply, read_json<RemoteDeltas>(**received));
    if (generation_ == nullptr) co_return Result<void>{};
    for (runner::GenerateDelta& delta : reply.deltas) {
      delta.choice += first_choice;
      const bool known =
          delta.choice >= 0 && delta.choice < static_cast<int32_t>(generation_->choices().size());
      if (!known) co_return fail(Code::kDataLoss, "a device sent a choice nobody asked for");
      if (!delta.finish_reason.empty()) --unfinished;
      generation_->push(std::move(delta));
    }
    if (reply.failure) co_return tl::unexpected(to_error(*reply.failure));
    co_await wait_for_room();
  }
  stream->close();
  co_return Result<void>{};
}

net::Task<void> RemoteGeneration::wait_for_room() {
  const auto is_full = [this] {
    return generation_ != nullptr && generation_->buffered_bytes() > Generation::kMaxBufferedBytes;
  };
  while (is_full()) {
    const net::Wake wake = co_await drained_.wait();
    if (wake == net::Wake::kCancelled) break;
  }
}

// ---- the working side ----

namespace {

// Ends when the asking side has gone.
net::Task<void> watch_for_end(mesh::Stream& stream, bool& gone) {
  for (;;) {
    const auto received = co_await stream.read(net::kNever);
    if (!received || !*received) break;
  }
  gone = true;
}

net::Task<Result<void>> send_all(mesh::Stream& stream, Generation& generation, const bool& gone) {
  while (!generation.finished() && !gone) {
    auto deltas = co_await generation.next(net::Clock::now() + kLookAfterPeer);
    if (!deltas && deltas.error().code == Code::kTimeout) continue;
    RemoteDeltas reply;
    if (deltas) {
      reply.deltas = std::move(*deltas);
    } else {
      reply.failure = to_failure(deltas.error());
    }
    std::string text = dump_json(to_json(reply));
    COHORT_CO_TRY_VOID(co_await stream.write(std::move(text), net::Clock::now() + kWriteTimeout));
    if (reply.failure) break;
  }
  co_return Result<void>{};
}

}  // namespace

net::Task<void> serve_generation(std::unique_ptr<mesh::Stream> stream,
                                 std::function<Result<std::unique_ptr<Generation>>(
                                     const std::string& instance, runner::GenerateRequest request)>
                                     start) {
  auto first = co_await stream->read(net::Clock::now() + kRequestTimeout);
  if (!first || !*first) co_return;
  auto request = read_json<RemoteRequest>(**first);
  auto generation = request ? start(request->instance, std::move(request->request))
                            : Result<std::unique_ptr<Generation>>(tl::unexpected(request.error()));
  if (!generation) {
    std::string text = dump_json(to_json(RemoteDeltas{.failure = to_failure(generation.error())}));
    co_await stream->write(std::move(text), net::Clock::now() + kWriteTimeout);
  } else {
    bool gone = false;
    net::TaskGroup watching(co_await net::asio::this_coro::executor);
    watching.spawn(watch_for_end(*stream, gone));
    co_await send_all(*stream, **generation, gone);
    co_await watching.close();
  }
  stream->close();
}

}  // namespace cohort::node
