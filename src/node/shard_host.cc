#include "node/shard_host.h"

#include <deque>
#include <stop_token>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "node/formation.h"
#include "node/runner_process.h"

namespace cohort::node {
namespace {

constexpr std::chrono::seconds kRequestTimeout{10};
constexpr std::chrono::seconds kWriteTimeout{10};
constexpr std::chrono::seconds kFetchingNotice{3};

Json failure_json(const Error& error) {
  return to_json(runner::Failure{std::string(code_name(error.code)), error.message});
}

}  // namespace

class ShardHost::Shard {
 public:
  Shard(ShardHost& host, std::unique_ptr<mesh::Stream> stream)
      : host_(host),
        stream_(std::move(stream)),
        outgoing_changed_(host.executor_),
        tasks_(host.executor_) {}

  net::Task<void> run() {
    const Result<void> done = co_await serve();
    if (!done) {
      document_.state = "failed";
      document_.reason = done.error().message;
      log::warn("shard of instance {}: {}", document_.instance, done.error().message);
      queue("failed", failure_json(done.error()));
    }
    tasks_.cancel();
    co_await tasks_.join();
    co_await write_out();
    stream_->close();
  }

  void stop(std::string why) {
    stop_fetching_.request_stop();
    if (runner_ != nullptr) runner_->kill(std::move(why));
  }
  const cluster::ShardDocument& document() const { return document_; }

 private:
  net::Task<Result<void>> serve() {
    auto first = co_await stream_->read(net::Clock::now() + kRequestTimeout);
    if (!first) co_return tl::unexpected(first.error());
    if (!*first) co_return fail(Code::kUnavailable, "the driver left before it said what to load");
    COHORT_CO_TRY(request_, read_json<ShardRequest>(**first));
    document_.instance = request_.instance;
    document_.epoch = request_.epoch;
    document_.rank = request_.load.rank;
    document_.state = "loading";
    host_.options_.on_change();
    if (!host_.options_.takes_shards)
      co_return fail(Code::kUnavailable, "this device takes no models (--no-worker)");
    tasks_.spawn(write_loop());
    tasks_.spawn(read_loop());
    COHORT_CO_TRY(const ModelLocation location, co_await fetch());
    COHORT_CO_TRY_VOID(co_await run_runner(location));
    co_return Result<void>{};
  }

  net::Task<Result<ModelLocation>> fetch() {
    net::TaskGroup notices(host_.executor_);
    notices.spawn(say_fetching());
    auto look_up = [&catalog = host_.catalog_, name = request_.model,
                    stop = stop_fetching_.get_token()] { return catalog.resolve(name, stop); };
    Result<ModelLocation> location = co_await host_.pool_.run(std::move(look_up));
    co_await notices.close();
    co_return location;
  }

  net::Task<void> say_fetching() {
    for (;;) {
      const net::Wake wake = co_await net::sleep_until(net::Clock::now() + kFetchingNotice);
      if (wake == net::Wake::kCancelled) co_return;
      queue("fetching", Json::object());
    }
  }

  net::Task<Result<void>> run_runner(const ModelLocation& location) {
    COHORT_CO_TRY(const auto runner,
                  RunnerProcess::start(host_.executor_, host_.options_.runner_command));
    if (driver_left_) co_return fail(Code::kUnavailable, "the driver left");
    runner_ = runner.get();
    runner::LoadCommand load = host_.options_.localize(request_.load);
    load.model = location.source;
    load.model_name = location.name;
    document_.runner_pid = runner->pid();
    const auto sent = runner->send(runner::FrameType::kLoad, load);
    if (!sent) runner->kill(sent.error().message);
    std::function<void(const runner::Frame&)> handle = [this](const runner::Frame& frame) {
      on_frame(frame);
    };
    const std::string how = co_await runner->run(std::move(handle));
    runner_ = nullptr;
    if (said_failure_ || driver_left_) co_return Result<void>{};
    co_return fail(Code::kUnavailable, "the runner {}", how);
  }

  void on_frame(const runner::Frame& frame) {
    switch (frame.type) {
      case runner::FrameType::kListening: return queue("listening", frame.body);
      case runner::FrameType::kProgress: return on_progress(frame.body);
      case runner::FrameType::kReady: return on_ready(frame.body);
      case runner::FrameType::kStats: return;
      case runner::FrameType::kFailed:
        said_failure_ = true;
        document_.state = "failed";
        document_.reason =
            from_json<runner::Failure>(frame.body).value_or(runner::Failure{}).message;
        return queue("failed", frame.body);
      default: runner_->kill("sent a frame that a rank beside the first does not send");
    }
  }

  void on_progress(const Json& body) {
    const auto progress = from_json<runner::LoadProgress>(body).value_or(runner::LoadProgress{});
    document_.layers_loaded = progress.layers_loaded;
    document_.total_layers = progress.total_layers;
    queue("progress", body);
  }

  void on_ready(const Json& body) {
    const auto ready = from_json<runner::ReadyInfo>(body).value_or(runner::ReadyInfo{});
    document_.state = "ready";
    document_.weight_bytes = ready.weight_bytes;
    document_.kv_bytes = ready.kv_bytes;
    document_.rss_bytes = ready.rss_bytes;
    document_.context_length = ready.context_length;
    document_.architecture = ready.architecture;
    document_.backend = ready.backend;
    document_.load_seconds = ready.load_seconds;
    document_.transports = transports_by_rank(ready.links);
    log::info("instance {}: rank {} is ready here: {}", document_.instance, document_.rank,
              ready.backend);
    host_.options_.on_change();
    queue("ready", body);
  }

  net::Task<void> read_loop() {
    for (;;) {
      auto received = co_await stream_->read(net::kNever);
      if (!received || !*received) break;
      const auto message = read_json<ShardMessage>(**received);
      if (message && message->type == "connect") on_connect(message->body);
    }
    driver_left_ = true;
    stop("was ended by its driver");
  }

  void on_connect(const Json& body) {
    if (runner_ == nullptr) return;
    const auto connect = from_json<ShardConnect>(body);
    const auto command = connect ? to_connect_command(*connect, request_.load.rank, host_.mesh_)
                                 : Result<runner::ConnectCommand>(tl::unexpected(connect.error()));
    if (!command) {
      said_failure_ = true;
      queue("failed", failure_json(command.error()));
      return runner_->kill("cannot reach the other ranks");
    }
    (void)runner_->send(runner::FrameType::kConnect, *command);
  }

  void queue(const char* type, Json body) {
    outgoing_.push_back(dump_json(to_json(ShardMessage{type, std::move(body)})));
    outgoing_changed_.notify_all();
  }

  net::Task<void> write_loop() {
    for (;;) {
      const net::Wake wake = co_await outgoing_changed_.wait();
      if (wake == net::Wake::kCancelled) co_return;
      co_await write_out();
    }
  }

  net::Task<void> write_out() {
    while (!outgoing_.empty() && !writing_) {
      writing_ = true;
      std::string message = std::move(outgoing_.front());
      outgoing_.pop_front();
      const auto deadline = net::Clock::now() + kWriteTimeout;
      const auto written = co_await stream_->write(std::move(message), deadline);
      writing_ = false;
      if (!written) outgoing_.clear();
    }
  }

  ShardHost& host_;
  std::unique_ptr<mesh::Stream> stream_;
  ShardRequest request_;
  cluster::ShardDocument document_;
  RunnerProcess* runner_ = nullptr;  // in the frame of run_runner()
  std::stop_source stop_fetching_;
  bool driver_left_ = false, said_failure_ = false, writing_ = false;
  std::deque<std::string> outgoing_;
  net::Notification outgoing_changed_;
  net::TaskGroup tasks_;
};

ShardHost::ShardHost(net::Executor executor, mesh::Mesh& mesh, const ModelCatalog& catalog,
                     net::BlockingPool& pool, ShardHostOptions options)
    : executor_(executor),
      mesh_(mesh),
      catalog_(catalog),
      pool_(pool),
      options_(std::move(options)),
      tasks_(executor) {}

ShardHost::~ShardHost() { COHORT_CHECK(shards_.empty()); }

void ShardHost::accept(std::unique_ptr<mesh::Stream> stream) {
  if (shards_.size() >= kMaxShards) return log::warn("too many shards: one is refused");
  const auto shard =
      shards_.insert(shards_.end(), std::make_unique<Shard>(*this, std::move(stream)));
  tasks_.spawn(run(shard));
}

net::Task<void> ShardHost::run(std::list<std::unique_ptr<Shard>>::iterator shard) {
  co_await (*shard)->run();
  shards_.erase(shard);
  options_.on_change();
}

std::vector<cluster::ShardDocument> ShardHost::shards() const {
  std::vector<cluster::ShardDocument> all;
  for (const auto& shard : shards_) {
    if (!shard->document().instance.empty()) all.push_back(shard->document());
  }
  return all;
}

net::Task<void> ShardHost::close() {
  for (const auto& shard : shards_) shard->stop("was ended with this device");
  co_await tasks_.close();
}

}  // namespace cohort::node
