#include "engine/engine.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <set>
#include <unordered_map>
#include <utility>

#include "base/check.h"
#include "engine/output.h"
#include "engine/random.h"
#include "engine/sampler.h"
#include "engine/scheduler.h"

namespace cohort::engine {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

// One choice of a request.
struct Generation {
  std::shared_ptr<const Request> request;  // shared with the other choices
  int32_t choice = 0;
  uint64_t seed = 0;
  Sequence sequence;
  Output output;
  SeenTokens seen;
  bool forks = false;  // the other choices begin when the prompt is computed
  std::optional<Clock::time_point> started, first_token;

  uint64_t serial() const { return sequence.ticket / kMaxChoices; }
};

int32_t usable_context(const models::ModelInfo& model, const EngineOptions& options) {
  int32_t limit = options.kv_pages * backend::kPageTokens;
  if (model.max_positions > 0) limit = std::min(limit, model.max_positions);
  if (options.context_length > 0) limit = std::min(limit, options.context_length);
  return limit;
}

Result<void> check_tokens(std::span<const text::TokenId> tokens, int32_t vocab_size) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] >= 0 && tokens[i] < vocab_size) continue;
    return fail(Code::kInvalidArgument, "token {} at place {}; the model has tokens 0 to {}",
                tokens[i], i, vocab_size - 1);
  }
  return {};
}

Result<void> check_stops(std::span<const std::string> stops) {
  if (stops.size() > kMaxStopStrings) {
    return fail(Code::kInvalidArgument, "{} stop strings; at most {} are allowed", stops.size(),
                kMaxStopStrings);
  }
  for (const std::string& stop : stops) {
    if (stop.size() <= kMaxStopBytes) continue;
    return fail(Code::kInvalidArgument, "a stop string of {} bytes; at most {} are allowed",
                stop.size(), kMaxStopBytes);
  }
  return {};
}

}  // namespace

struct Engine::State {
  State(StepExecutor& step_executor, const text::Tokenizer& text_tokenizer,
        const models::ModelInfo& model, EngineOptions engine_options)
      : executor(step_executor),
        tokenizer(text_tokenizer),
        vocab_size(model.vocab_size),
        context_length(usable_context(model, engine_options)),
        options(std::move(engine_options)),
        scheduler(executor, {.max_sequences = options.max_sequences,
                             .chunk_tokens = options.chunk_tokens,
                             .kv_pages = options.kv_pages,
                             .depth = executor.depth()}) {}

  Result<void> check(const Request& request) const;
  Result<void> check_queue() const;
  std::unique_ptr<Generation> make_generation(std::shared_ptr<const Request> request,
                                              uint64_t serial, int32_t choice) const;
  FinishReason replay(Generation& generation) const;

  Result<void> begin_steps();
  Result<void> finish_oldest();
  void note_started(const Batch& batch);
  std::vector<Generation*> fork_choices(Generation& first);
  void sample(Generation& generation, std::span<float> logits);

  void finish(Generation& generation, Delta delta);
  void finish_request(uint64_t serial, FinishReason reason, const std::string& error);
  void finish_cancelled();
  void finish_running(const std::string& error);

  // Constant after construction.
  StepExecutor& executor;
  const text::Tokenizer& tokenizer;
  const int32_t vocab_size;
  const int32_t context_length;
  const EngineOptions options;

  Scheduler scheduler;
  Sampler sampler;
  std::map<uint64_t, std::unique_ptr<Generation>>
      generations;  // by ticket: choices of a request in a row
  std::unordered_map<RequestId, uint64_t> serials;
  uint64_t next_serial = 0;
  std::vector<uint64_t> cancelled;  // serials
  std::vector<Delta> deltas;        // for the end of the step
  std::vector<float> logits;
  Clock::time_point now;  // of the running step
  EngineStats totals;     // counters only
};

Result<void> Engine::State::check(const Request& request) const {
  if (request.prompt.empty()) return fail(Code::kInvalidArgument, "the prompt is empty");
  if (static_cast<int64_t>(request.prompt.size()) >= context_length) {
    return fail(
        Code::kInvalidArgument,
        "the prompt has {} tokens, but the context holds {} and the answer needs at least one; "
        "shorten the prompt or place the model with a larger context",
        request.prompt.size(), context_length);
  }
  if (request.max_tokens < 0) {
    return fail(Code::kInvalidArgument, "max_tokens is {}; it must be at least 0 (0: no limit)",
                request.max_tokens);
  }
  if (request.choices < 1 || request.choices > kMaxChoices) {
    return fail(Code::kInvalidArgument, "{} choices wanted; it must be 1 to {}", request.choices,
                kMaxChoices);
  }
  if (request.choices > 1 && !request.generated.empty()) {
    return fail(Code::kInvalidArgument, "only a single choice can be continued, not {}",
                request.choices);
  }
  if (serials.contains(request.id)) {
    return fail(Code::kInvalidArgument, "request {} is running already", request.id);
  }
  COHORT_TRY_VOID(check_tokens(request.prompt, vocab_size));
  COHORT_TRY_VOID(check_tokens(request.generated, vocab_size));
  COHORT_TRY_VOID(check_stops(request.stop));
  return validate(request.sampling, vocab_size);
}

Result<void> Engine::State::check_queue() const {
  const auto running = static_cast<int32_t>(scheduler.running().size());
  const int32_t free_slots = std::max(0, options.max_sequences - running);
  if (scheduler.waiting() < options.max_queued + free_slots) return {};
  return fail(Code::kResourceExhausted, "{} requests are running and {} waiting; try again later",
              running, scheduler.waiting());
}

std::unique_ptr<Generation> Engine::State::make_generation(std::shared_ptr<const Request> request,
                                                           uint64_t serial, int32_t choice) const {
  const Request& r = *request;
  const auto prompt_tokens = static_cast<int32_t>(r.prompt.size());
  const int32_t room = context_length - prompt_tokens;
  const Output::Limits limits{.eos_tokens = options.eos_tokens,
                              .min_tokens = r.sampling.min_tokens,
                              .max_tokens = r.max_tokens > 0 ? std::min(r.max_tokens, room) : room,
                              .ignore_eos = r.sampling.ignore_eos};
  const uint64_t seed = r.sampling.seed.value_or(random_bits(options.seed_source, serial));
  auto generation = std::make_unique<Generation>(
      Generation{.choice = choice,
                 .seed = seed + static_cast<uint64_t>(choice),
                 .sequence = {.ticket = serial * kMaxChoices + static_cast<uint64_t>(choice),
                              .tokens = r.prompt,
                              .prompt_tokens = prompt_tokens},
                 .output = Output(tokenizer, r.stop, limits)});
  if (SeenTokens::needed(r.sampling)) {
    for (const text::TokenId token : r.prompt) generation->seen.add_prompt(token);
  }
  generation->request = std::move(request);
  return generation;
}

// Brings a continued choice to where the earlier placement was: the same text is held back, the same limits are near.
FinishReason Engine::State::replay(Generation& generation) const {
  for (const text::TokenId token : generation.request->generated) {
    generation.sequence.tokens.push_back(token);
    generation.seen.add_output(token);
    const FinishReason reason = generation.output.accept(token).finish;
    if (reason != FinishReason::kNone) return reason;
  }
  return FinishReason::kNone;
}

Result<void> Engine::State::begin_steps() {
  while (scheduler.under_way() < executor.depth()) {
    const Batch& batch = scheduler.schedule();
    if (batch.sequences.empty()) break;
    now = Clock::now();
    note_started(batch);
    ++totals.steps;
    COHORT_TRY_VOID(executor.begin(batch.plan));
  }
  return {};
}

Result<void> Engine::State::finish_oldest() {
  const auto columns = static_cast<size_t>(vocab_size);
  logits.resize(scheduler.oldest().sampled.size() * columns);
  COHORT_TRY_VOID(executor.finish(logits));
  now = Clock::now();
  const Batch& batch = scheduler.commit();
  for (size_t row = 0; row < batch.sampled.size(); ++row) {
    if (batch.sampled[row] == nullptr) continue;  // cancelled while the step was under way
    Generation& generation = *generations.at(batch.sampled[row]->ticket);
    const std::span<float> values(logits.data() + row * columns, columns);
    const std::vector<Generation*> others = fork_choices(generation);
    sample(generation, values);
    for (Generation* other : others) sample(*other, values);
  }
  return {};
}

void Engine::State::note_started(const Batch& batch) {
  for (const Sequence* sequence : batch.sequences) {
    Generation& generation = *generations.at(sequence->ticket);
    if (generation.started) continue;
    generation.started = now;
    totals.prompt_tokens += static_cast<uint64_t>(sequence->prompt_tokens);
    totals.cached_tokens += static_cast<uint64_t>(sequence->cached_tokens);
  }
}

std::vector<Generation*> Engine::State::fork_choices(Generation& first) {
  std::vector<Generation*> others;
  if (!std::exchange(first.forks, false)) return others;
  for (int32_t choice = 1; choice < first.request->choices; ++choice) {
    auto generation = make_generation(first.request, first.serial(), choice);
    generation->started = first.started;
    others.push_back(generation.get());
    scheduler.fork(first.sequence, generation->sequence);
    generations.emplace(generation->sequence.ticket, std::move(generation));
  }
  return others;
}

void Engine::State::sample(Generation& generation, std::span<float> row) {
  const Sampling& sampling = generation.request->sampling;
  Sequence& sequence = generation.sequence;
  Delta delta;
  const auto token = sampler.sample(row, {.sampling = sampling,
                                          .seen = generation.seen,
                                          .banned = generation.output.banned(),
                                          .seed = generation.seed,
                                          .position = sequence.tokens.size()});
  if (!token) {
    delta.finish = FinishReason::kError;
    delta.error = fmt::format("the model's logits after {} tokens are not finite numbers",
                              sequence.tokens.size());
    return finish(generation, std::move(delta));
  }
  delta.tokens.push_back(*token);
  if (sampling.logprobs >= 0) {
    delta.logprobs.push_back(sampler.logprobs(row, *token, sampling.logprobs));
  }
  sequence.tokens.push_back(*token);
  if (SeenTokens::needed(sampling)) generation.seen.add_output(*token);
  if (!generation.first_token) generation.first_token = now;
  ++totals.generated_tokens;
  Output::Accepted accepted = generation.output.accept(*token);
  delta.text = std::move(accepted.text);
  delta.finish = accepted.finish;
  if (delta.finish != FinishReason::kNone) return finish(generation, std::move(delta));
  delta.id = generation.request->id;
  delta.choice = generation.choice;
  deltas.push_back(std::move(delta));
}

// Completes the last delta, and forgets the choice.
void Engine::State::finish(Generation& generation, Delta delta) {
  const Sequence& sequence = generation.sequence;
  delta.id = generation.request->id;
  delta.choice = generation.choice;
  delta.prompt_tokens = sequence.prompt_tokens;
  delta.cached_tokens = std::max(0, sequence.cached_tokens);
  delta.completion_tokens = generation.output.tokens();
  if (generation.first_token) {
    delta.prefill_seconds = seconds_between(*generation.started, *generation.first_token);
    delta.decode_seconds = seconds_between(*generation.first_token, now);
  }
  const uint64_t serial = generation.serial();
  scheduler.remove(generation.sequence);
  generations.erase(generations.find(sequence.ticket));
  const auto next = generations.lower_bound(serial * kMaxChoices);
  if (next == generations.end() || next->second->serial() != serial) serials.erase(delta.id);
  deltas.push_back(std::move(delta));
}

void Engine::State::finish_request(uint64_t serial, FinishReason reason, const std::string& error) {
  const auto begin = generations.lower_bound(serial * kMaxChoices);
  if (begin == generations.end() || begin->second->serial() != serial) return;  // over by itself
  const auto end = generations.lower_bound((serial + 1) * kMaxChoices);
  std::vector<Generation*> choices;
  for (auto it = begin; it != end; ++it) choices.push_back(it->second.get());
  Delta last;
  last.finish = reason;
  last.error = error;
  if (choices.front()->forks) {  // choices that never began
    const Request& request = *choices.front()->request;
    last.id = request.id;
    last.prompt_tokens = static_cast<int32_t>(request.prompt.size());
    for (last.choice = 1; last.choice < request.choices; ++last.choice) deltas.push_back(last);
  }
  for (Generation* choice : choices) finish(*choice, last);
}

void Engine::State::finish_cancelled() {
  for (const uint64_t serial : std::exchange(cancelled, {})) {
    finish_request(serial, FinishReason::kCancelled, "");
  }
}

void Engine::State::finish_running(const std::string& error) {
  scheduler.forget_steps();
  std::set<uint64_t> failed;
  for (const Sequence* sequence : scheduler.running()) {
    failed.insert(sequence->ticket / kMaxChoices);
  }
  for (const uint64_t serial : failed) finish_request(serial, FinishReason::kError, error);
}

Engine::Engine(StepExecutor& executor, const text::Tokenizer& tokenizer,
               const models::ModelInfo& model, EngineOptions options)
    : state_(std::make_unique<State>(executor, tokenizer, model, std::move(options))) {}
Engine::~Engine() = default;

Result<void> Engine::submit(Request request) {
  State& s = *state_;
  COHORT_TRY_VOID(s.check(request));
  COHORT_TRY_VOID(s.check_queue());
  const uint64_t serial = s.next_serial++;
  const RequestId id = request.id;
  auto owned = s.make_generation(std::make_shared<const Request>(std::move(request)), serial, 0);
  Generation& generation = *owned;
  generation.forks = generation.request->choices > 1;
  Delta last;
  last.finish = s.replay(generation);
  s.serials.emplace(id, serial);
  s.generations.emplace(generation.sequence.ticket, std::move(owned));
  if (last.finish != FinishReason::kNone) {
    s.finish(generation, std::move(last));
  } else {
    s.scheduler.add(generation.sequence);
  }
  return {};
}

void Engine::cancel(RequestId id) {
  const auto found = state_->serials.find(id);
  if (found != state_->serials.end()) state_->cancelled.push_back(found->second);
}

bool Engine::idle() const {
  return state_->generations.empty() && state_->deltas.empty() &&
         state_->scheduler.under_way() == 0;
}

std::vector<Delta> Engine::step() {
  state_->finish_cancelled();
  Result<void> done = state_->begin_steps();
  if (done && state_->scheduler.under_way() > 0) done = state_->finish_oldest();
  if (!done) state_->finish_running(done.error().message);
  return std::exchange(state_->deltas, {});
}

EngineStats Engine::stats() const {
  const Scheduler& scheduler = state_->scheduler;
  EngineStats stats = state_->totals;
  stats.running = static_cast<int32_t>(scheduler.running().size());
  stats.queued = scheduler.waiting();
  stats.kv_pages_total = scheduler.pages().total();
  stats.kv_pages_used = scheduler.pages().used();
  stats.kv_pages_cached = scheduler.pages().cached();
  stats.preemptions = scheduler.preemptions();
  return stats;
}

int32_t Engine::context_length() const { return state_->context_length; }

}  // namespace cohort::engine
