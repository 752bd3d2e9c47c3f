#include "runner/service.h"

#include <algorithm>
#include <ctime>
#include <random>
#include <thread>
#include <utility>

#include "base/log.h"
#include "runner/delta_frames.h"
#include "runner/process_memory.h"
#include "runner/prompt.h"

namespace cohort::runner {
namespace {

constexpr int32_t kLeastChunkTokens = 64;  // below, products lose their speed

engine::EngineOptions engine_options(const LoadCommand& command, const LoadedModel& model,
                                     int32_t stages) {
  engine::EngineOptions options;
  options.context_length = model.kv.context_length;
  options.max_sequences = command.max_sequences;
  options.max_queued = command.max_queued;
  options.kv_pages = model.kv.pages;
  // Stages work side by side on the chunks of a prompt: the smaller they are, the sooner all have something to do.
  options.chunk_tokens = std::max(kLeastChunkTokens, options.chunk_tokens / stages);
  options.eos_tokens = model.defaults.eos_tokens;
  options.seed_source = std::random_device{}();
  return options;
}

constexpr std::chrono::milliseconds kNoWait{0};
constexpr std::chrono::hours kLongestSleep{1};

}  // namespace

Service::Service(FrameSocket& socket, const LoadCommand& command, const LoadedModel& model,
                 Rank& rank)
    : socket_(socket),
      model_(model),
      executor_(rank),
      engine_(executor_, *model.tokenizer, model.model->info(),
              engine_options(command, model, rank.placement().stages)) {}

void Service::run() {
  std::jthread reader([this] { read_frames(); });
  do {
    const bool idle = engine_.idle() && !drain_until_;
    for (Work& work : inbox_.take(idle ? longest_sleep() : kNoWait)) handle(std::move(work));
    if (!engine_.idle()) {
      step();
    } else {
      (void)executor_.check();
    }
  } while (goes_on());
  executor_.end();
  if (const auto& failure = executor_.failure()) {
    log::error("{}", failure->message);
    queue(FrameType::kFailed, failure_frame(*failure));
    flush();
  }
  inbox_.close();
  socket_.shut_down();
}

std::chrono::milliseconds Service::longest_sleep() const {
  return executor_.alone() ? kLongestSleep : kLookInterval;
}

bool Service::goes_on() {
  return flush() && !executor_.failure() && !inbox_.closed() && !drained();
}

// ---- the reading thread ----

void Service::read_frames() {
  for (;;) {
    const auto frame = socket_.read();
    if (!frame) log::error("the daemon's stream broke: {}", frame.error().message);
    if (!frame || !*frame) break;
    if (auto work = to_work(**frame)) inbox_.push(std::move(*work));
  }
  inbox_.close();
}

std::optional<Work> Service::to_work(const Frame& frame) const {
  switch (frame.type) {
    case FrameType::kGenerate: return prepare_generate(frame.body);
    case FrameType::kShutdown: return Shutdown{};
    case FrameType::kCancel:
      if (const auto request = from_json<RequestRef>(frame.body)) return Cancellation{request->id};
      [[fallthrough]];
    default:
      log::warn("a frame of type {} makes no sense here and is ignored",
                static_cast<int>(frame.type));
      return std::nullopt;
  }
}

Work Service::prepare_generate(const Json& body) const {
  const uint64_t id = from_json<RequestRef>(body).value_or(RequestRef{}).id;
  const auto request = from_json<GenerateRequest>(body);
  if (!request) return Refusal{id, request.error()};
  auto submission = prepare(*request, model_, std::time(nullptr));
  if (!submission) return Refusal{id, submission.error()};
  return std::move(*submission);
}

// ---- the stepping thread ----

void Service::handle(Work work) {
  if (auto* submission = std::get_if<Submission>(&work)) {
    submit(std::move(*submission));
  } else if (const auto* refusal = std::get_if<Refusal>(&work)) {
    queue(FrameType::kDelta, refusal_frame(refusal->id, refusal->error));
  } else if (const auto* cancellation = std::get_if<Cancellation>(&work)) {
    engine_.cancel(cancellation->id);
  } else if (!drain_until_) {
    drain_until_ = Clock::now() + kDrainLimit;
  }
}

void Service::submit(Submission submission) {
  const uint64_t id = submission.request.id;
  const int32_t choices = submission.request.choices;
  const auto accepted = drain_until_
                            ? fail(Code::kUnavailable, "the model is being unloaded; try again")
                            : engine_.submit(std::move(submission.request));
  if (!accepted) return queue(FrameType::kDelta, refusal_frame(id, accepted.error()));
  if (submission.echo.empty()) return;
  for (int32_t choice = 0; choice < choices; ++choice) {
    queue(FrameType::kDelta, GenerateDelta{.id = id, .choice = choice, .text = submission.echo});
  }
}

void Service::step() {
  const std::vector<engine::Delta> deltas = engine_.step();
  if (executor_.failure()) return;
  for (const engine::Delta& delta : deltas) {
    queue(FrameType::kDelta, to_frame(delta, *model_.tokenizer));
  }
  if (engine_.idle() || Clock::now() >= last_stats_ + kStatsInterval) queue_stats();
}

bool Service::drained() const {
  return drain_until_ && (engine_.idle() || Clock::now() >= *drain_until_);
}

void Service::queue_stats() {
  last_stats_ = Clock::now();
  queue(FrameType::kStats, to_frame(engine_.stats(), resident_bytes()));
}

template <class T>
void Service::queue(FrameType type, const T& body) {
  const auto frame = encode_frame(type, body);
  if (frame) {
    outgoing_ += *frame;
  } else {
    log::error("a frame is dropped: {}", frame.error().message);
  }
}

bool Service::flush() {
  const auto written = socket_.write(outgoing_);
  outgoing_.clear();
  return written.has_value();
}

}  // namespace cohort::runner
