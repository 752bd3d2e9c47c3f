#include "node/instance.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/check.h"
#include "base/log.h"

namespace cohort::node {
namespace {

// A request that takes the runner down again and again, without a token in between, is the one to give up on.
constexpr int kMaxCrashesOfOneRequest = 3;
constexpr size_t kSpeedSamples = 8;

// What a rank says when another was lost, or did not come in time: with all of them there, it may go well.
bool is_passing(Code code) { return code == Code::kUnavailable || code == Code::kTimeout; }

}  // namespace

std::string_view state_name(InstanceState state) {
  switch (state) {
    case InstanceState::kLoading: return "loading";
    case InstanceState::kReady: return "ready";
    case InstanceState::kHealing: return "healing";
    case InstanceState::kFailed: return "failed";
  }
  return "failed";
}

Instance::Instance(net::Executor executor, InstanceOptions options)
    : executor_(executor),
      options_(std::move(options)),
      restart_(options_.restart),
      changed_(executor),
      tasks_(executor) {}

Instance::~Instance() { COHORT_CHECK(runner_ == nullptr); }

// --- life of the runner

net::Task<void> Instance::run() {
  tasks_.spawn(watch());
  while (!stopping_) {
    auto runner = RunnerProcess::start(executor_, options_.runner_command);
    if (!runner) {
      become_failed(runner.error());
      break;
    }
    const std::string how_it_ended = co_await run_runner(**runner);
    runner->reset();
    if (stopping_) break;
    const bool others_failed = is_shared() && failure_ && is_passing(failure_->code);
    if (failure_ && !others_failed) {
      become_failed(*failure_);
      break;
    }
    std::string what = others_failed ? failure_->message : "the runner " + how_it_ended;
    if (!co_await recover(std::move(what))) break;
  }
  while (!stopping_) co_await changed_.wait_uncancelled();
  fail_generations({Code::kUnavailable, why_stopping_});
  co_await tasks_.close();
}

net::Task<std::string> Instance::run_runner(RunnerProcess& runner) {
  runner_ = &runner;
  progress_ = {};
  const auto sent = runner.send(runner::FrameType::kLoad, options_.load);
  if (!sent) runner.kill(sent.error().message);
  if (is_shared()) form();
  std::function<void(const runner::Frame&)> handle = [this](const runner::Frame& frame) {
    on_frame(frame);
  };
  std::string how = co_await runner.run(std::move(handle));
  runner_ = nullptr;
  if (formation_) co_await formation_->close();
  formation_.reset();
  stats_ = {};
  co_return how;
}

// Brings the other ranks up. Whatever goes wrong with one ends our runner, and with it this attempt.
void Instance::form() {
  FormationEvents events;
  events.connect = [this](const runner::ConnectCommand& command) {
    (void)runner_->send(runner::FrameType::kConnect, command);
  };
  events.lost = [this](Error error) {
    if (!failure_) failure_ = error;
    runner_->kill(std::move(error.message));
  };
  FormationOptions options{.instance = options_.id,
                           .epoch = options_.epoch,
                           .model = options_.model.name,
                           .load = options_.load,
                           .ranks = options_.ranks};
  formation_.emplace(executor_, *options_.mesh, std::move(options), std::move(events));
  formation_->start();
}

// After a crash: waits as long as the policy says. False: that was one crash too many.
net::Task<bool> Instance::recover(std::string what) {
  log::warn("instance {} ({}): {}", options_.id, options_.model.name, what);
  if (!failure_) blame_crash(what);  // else another rank is to blame, not a request
  failure_.reset();
  runs_.clear();
  const auto delay = restart_.on_crash(net::Clock::now());
  if (!delay) {
    become_failed({Code::kUnavailable, fmt::format("model '{}' crashed {} times; at last {}",
                                                   options_.model.name, restart_.crashes(), what)});
    co_return false;
  }
  ++heals_;
  set_state(InstanceState::kHealing, what + "; starting anew");
  const net::TimePoint until = net::Clock::now() + *delay;
  while (!stopping_ && co_await changed_.wait_uncancelled(until) != net::Wake::kTimeout) {
  }
  // Without its devices there is nothing to try: either they come back, or the leader moves this instance.
  constexpr std::chrono::milliseconds kLookAgain{50};
  while (!stopping_ && !all_ranks_linked()) {
    co_await changed_.wait_uncancelled(net::Clock::now() + kLookAgain);
  }
  co_return true;
}

bool Instance::all_ranks_linked() const {
  return std::all_of(options_.ranks.begin(), options_.ranks.end(), [&](const ShardRank& rank) {
    return rank.rank == 0 || options_.is_reachable(rank.device);
  });
}

void Instance::stop(std::string why) {
  if (stopping_) return;
  stopping_ = true;
  why_stopping_ = std::move(why);
  stop_deadline_ = net::Clock::now() + options_.stop_grace;
  fail_generations({Code::kUnavailable, why_stopping_});
  if (runner_ != nullptr && state_ == InstanceState::kReady) {
    (void)runner_->send(runner::FrameType::kShutdown, Json::object());
  } else if (runner_ != nullptr) {
    runner_->kill("was stopped while loading");
  }
  changed_.notify_all();
}

// --- deadlines: of a stop, of a runner that keeps silent, of an instance nobody uses

net::Task<void> Instance::watch() {
  for (;;) {
    const net::Wake wake = co_await changed_.wait(next_deadline());
    if (wake == net::Wake::kCancelled) co_return;
    if (net::Clock::now() >= next_deadline()) on_deadline();
  }
}

net::TimePoint Instance::next_deadline() const {
  if (runner_ != nullptr && runner_->killed()) return net::kNever;
  if (stopping_) return runner_ != nullptr ? stop_deadline_ : net::kNever;
  if (runner_ != nullptr && state_ != InstanceState::kReady)
    return std::max(runner_->last_heard(),
                    formation_ ? formation_->last_heard() : net::TimePoint()) +
           options_.load_silence;
  if (runner_ != nullptr && !runs_.empty()) {
    return std::max(runner_->last_heard(), last_submit_at_) + options_.busy_silence;
  }
  const bool idle = generations_.empty() && options_.idle_unload.count() > 0;
  return idle ? idle_since_ + options_.idle_unload : net::kNever;
}

void Instance::on_deadline() {
  if (stopping_) {
    runner_->kill("did not stop in time");
  } else if (runner_ != nullptr && (state_ != InstanceState::kReady || !runs_.empty())) {
    runner_->kill("said nothing for too long");
  } else {
    log::info("instance {} ({}): nobody uses it", options_.id, options_.model.name);
    idle_since_ = net::Clock::now();
    options_.on_idle();
  }
}

void Instance::set_state(InstanceState state, std::string reason) {
  state_ = state;
  reason_ = std::move(reason);
  changed_.notify_all();
  options_.on_change();
}

void Instance::become_failed(Error error) {
  log::error("instance {} ({}) failed: {}", options_.id, options_.model.name, error.message);
  fail_generations(error);
  set_state(InstanceState::kFailed, error.message);
  failure_ = std::move(error);
}

// --- frames from the runner

void Instance::on_frame(const runner::Frame& frame) {
  switch (frame.type) {
    case runner::FrameType::kProgress:
      if (auto progress = from_json<runner::LoadProgress>(frame.body)) progress_ = *progress;
      break;
    case runner::FrameType::kReady: on_ready(frame); break;
    case runner::FrameType::kListening:
      if (formation_) {
        const auto listening = from_json<runner::Listening>(frame.body);
        formation_->set_own_port(listening.value_or(runner::Listening{}).port);
      }
      break;
    case runner::FrameType::kFailed: {
      const auto failure = from_json<runner::Failure>(frame.body).value_or(runner::Failure{});
      failure_ = Error{code_from_name(failure.code), failure.message};
      break;
    }
    case runner::FrameType::kDelta:
      if (auto delta = from_json<runner::GenerateDelta>(frame.body)) on_delta(std::move(*delta));
      break;
    case runner::FrameType::kStats:
      if (auto stats = from_json<runner::RunnerStats>(frame.body)) stats_ = *stats;
      options_.on_stats();
      break;
    default: runner_->kill("sent a frame that only a daemon sends");
  }
}

void Instance::on_ready(const runner::Frame& frame) {
  ready_ = from_json<runner::ReadyInfo>(frame.body).value_or(runner::ReadyInfo{});
  log::info("instance {} ({}) is ready: {}, context {}, loaded in {:.1f} s", options_.id,
            options_.model.name, ready_->backend, ready_->context_length, ready_->load_seconds);
  if (generations_.empty()) idle_since_ = net::Clock::now();
  set_state(InstanceState::kReady, "");
  const std::vector<Generation*> waiting = generations_;
  for (Generation* generation : waiting) {
    if (generation->crashes_without_progress == 0) submit(*generation);
  }
  submit_next_suspect();
}

void Instance::on_delta(runner::GenerateDelta delta) {
  const auto found = runs_.find(delta.id);
  if (found == runs_.end()) return;  // of a request withdrawn meanwhile
  Run& run = found->second;
  Generation& generation = *run.generation;
  delta.choice += run.first_choice;
  if (delta.choice < 0 || delta.choice >= static_cast<int32_t>(generation.choices().size())) {
    return runner_->kill("sent a choice nobody asked for");
  }
  if (delta.error || delta.finish_reason == "error" || delta.finish_reason == "cancelled") {
    const auto failure =
        delta.error.value_or(runner::Failure{.message = "the runner gave this request up"});
    withdraw(generation);
    generation.fail({code_from_name(failure.code), failure.message});
    return finish(generation);
  }
  if (!delta.tokens.empty()) last_token_at_ = net::Clock::now();
  if (!delta.finish_reason.empty()) {
    record_speed(delta);
    if (--run.unfinished_choices == 0) runs_.erase(found);
  }
  const bool was_suspect = generation.crashes_without_progress > 0;
  generation.push(std::move(delta));
  if (was_suspect && generation.crashes_without_progress == 0) submit_next_suspect();
  if (generation.all_choices_finished()) return finish(generation);
  if (generation.buffered_bytes() <= Generation::kMaxBufferedBytes) return;
  withdraw(generation);
  generation.paused = true;
}

void Instance::record_speed(const runner::GenerateDelta& last) {
  if (last.completion_tokens < 2 || last.decode_seconds <= 0) return;
  speeds_.emplace_back(last.completion_tokens - 1, last.decode_seconds);
  if (speeds_.size() > kSpeedSamples) speeds_.pop_front();
}

// --- requests

Result<void> Instance::accept(Generation& generation) {
  if (state_ == InstanceState::kFailed) return tl::unexpected(*failure_);
  if (stopping_)
    return fail(Code::kUnavailable, "model '{}' is being unloaded; try again", options_.model.name);
  const auto limit = static_cast<size_t>(options_.load.max_sequences + options_.load.max_queued);
  if (generations_.size() >= limit) {
    return fail(Code::kResourceExhausted,
                "{} requests run or wait for model '{}' already; try again later",
                generations_.size(), options_.model.name);
  }
  generations_.push_back(&generation);
  generation.set_owner(this);
  if (state_ == InstanceState::kReady) submit(generation);
  changed_.notify_all();
  return {};
}

void Instance::submit(Generation& generation) {
  generation.paused = false;
  for (Generation::Part& part : generation.parts_left()) {
    submit_run(generation, std::move(part.request), part.first_choice);
  }
}

void Instance::submit_run(Generation& generation, runner::GenerateRequest request,
                          int32_t first_choice) {
  request.id = next_run_id_++;
  last_submit_at_ = net::Clock::now();
  const auto sent = runner_->send(runner::FrameType::kGenerate, request);
  if (!sent) {
    generation.fail(sent.error());
    return finish(generation);
  }
  runs_.emplace(request.id, Run{&generation, first_choice, request.choices});
}

void Instance::withdraw(Generation& generation) {
  std::erase_if(runs_, [&](const auto& entry) {
    if (entry.second.generation != &generation) return false;
    if (runner_ != nullptr)
      (void)runner_->send(runner::FrameType::kCancel, runner::RequestRef{.id = entry.first});
    return true;
  });
}

bool Instance::is_running(const Generation& generation) const {
  return std::any_of(runs_.begin(), runs_.end(),
                     [&](const auto& entry) { return entry.second.generation == &generation; });
}

// Requests that were running when the runner crashed come back one at a time, each after the one before it has given a
// token, the least suspected first: so the one to blame is found out, and the others do not share its fate.
void Instance::submit_next_suspect() {
  if (stopping_ || runner_ == nullptr || state_ != InstanceState::kReady) return;
  Generation* next = nullptr;
  for (Generation* generation : generations_) {
    const int crashes = generation->crashes_without_progress;
    if (crashes == 0) continue;
    if (is_running(*generation)) return;
    if (next == nullptr || crashes < next->crashes_without_progress) next = generation;
  }
  if (next != nullptr) submit(*next);
}

void Instance::finish(Generation& generation) {
  generation.set_owner(nullptr);
  std::erase(generations_, &generation);
  submit_next_suspect();
  if (!generations_.empty()) return;
  idle_since_ = net::Clock::now();
  changed_.notify_all();
}

void Instance::on_dropped(Generation& generation) {
  withdraw(generation);
  finish(generation);
}

void Instance::on_drained(Generation& generation) {
  if (generation.paused && runner_ != nullptr && state_ == InstanceState::kReady)
    submit(generation);
}

void Instance::fail_generations(const Error& error) {
  while (!generations_.empty()) {
    Generation& generation = *generations_.back();
    withdraw(generation);
    generation.fail(error);
    finish(generation);
  }
}

std::vector<Generation*> Instance::give_up_requests() {
  const std::vector<Generation*> all = generations_;
  for (Generation* generation : all) {
    withdraw(*generation);
    generation->set_owner(nullptr);
  }
  generations_.clear();
  return all;
}

void Instance::blame_crash(const std::string& how) {
  std::set<Generation*> suspects;
  for (const auto& [id, run] : runs_) suspects.insert(run.generation);
  for (Generation* generation : suspects) {
    if (++generation->crashes_without_progress < kMaxCrashesOfOneRequest) continue;
    generation->fail(
        {Code::kInternal, fmt::format("the runner crashed {} times over this request; at last {}",
                                      kMaxCrashesOfOneRequest, how)});
    finish(*generation);
  }
}

cluster::ShardDocument Instance::document() const {
  cluster::ShardDocument document{.instance = options_.id, .epoch = options_.epoch};
  document.state = state_name(state_);
  document.reason = reason_;
  document.layers_loaded = progress_.layers_loaded;
  document.total_layers = progress_.total_layers;
  document.weight_bytes = options_.model.weight_bytes;
  if (ready_) {
    document.weight_bytes = ready_->weight_bytes;
    document.kv_bytes = ready_->kv_bytes;
    document.context_length = ready_->context_length;
    document.architecture = ready_->architecture;
    document.backend = ready_->backend;
    document.load_seconds = ready_->load_seconds;
    document.transports = transports_by_rank(ready_->links);
    document.rss_bytes = ready_->rss_bytes;
  }
  if (stats_.rss_bytes > 0) document.rss_bytes = stats_.rss_bytes;
  document.requests = static_cast<int32_t>(generations_.size());
  document.running = stats_.running;
  document.queued = stats_.queued;
  document.kv_pages_total = stats_.kv_pages_total;
  document.kv_pages_used = stats_.kv_pages_used;
  document.kv_pages_cached = stats_.kv_pages_cached;
  document.prompt_tokens = stats_.prompt_tokens;
  document.cached_tokens = stats_.cached_tokens;
  document.generated_tokens = stats_.generated_tokens;
  document.restarts = heals_;
  document.decode_tokens_per_s = decode_tokens_per_s();
  document.runner_pid = runner_ != nullptr ? runner_->pid() : 0;
  return document;
}

double Instance::decode_tokens_per_s() const {
  double tokens = 0, seconds = 0;
  for (const auto& [count, duration] : speeds_) {
    tokens += count;
    seconds += duration;
  }
  return seconds > 0 ? tokens / seconds : 0;
}

}  // namespace cohort::node
