// Many requests, one model: paged KV with prefix reuse, continuous batching, sampling. The runner calls step() in a loop;
// what comes out are deltas for the requests' owners.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "base/result.h"
#include "base/sampling.h"
#include "models/model.h"
#include "text/tokenizer.h"

namespace cohort::engine {

using RequestId = uint64_t;  // chosen by the caller, unique while the request lives

inline constexpr int32_t kMaxChoices = 128;
inline constexpr size_t kMaxStopStrings = 64;
inline constexpr size_t kMaxStopBytes = 4096;  // of one stop string

struct Request {
  RequestId id = 0;
  std::vector<text::TokenId> prompt;
  // Already sent by an earlier placement: counted as output, not sent again. Only with choices == 1: each choice of a
  // request is resumed as a request of its own, with its own seed.
  std::vector<text::TokenId> generated;
  int32_t max_tokens = 0;  // 0: up to the context limit
  Sampling sampling;
  std::vector<std::string> stop;  // strings; matched text is not sent
  int32_t choices = 1;            // n; choice i samples with seed + i and shares the prompt's KV
};

enum class FinishReason { kNone, kStop, kLength, kCancelled, kError };

struct TokenLogprob {
  text::TokenId id = 0;
  float logprob = 0;
};
struct SampledLogprobs {
  TokenLogprob chosen;
  std::vector<TokenLogprob> top;
};

struct Delta {
  RequestId id = 0;
  int32_t choice = 0;
  std::vector<text::TokenId>
      tokens;  // sampled since the last delta; the end-of-sequence token is one of them
  std::string
      text;  // whole UTF-8; may be empty while a character or a possible stop string is held back
  std::vector<SampledLogprobs> logprobs;  // one a token, when asked for
  FinishReason finish = FinishReason::kNone;
  std::string error;  // kError
  // on the last delta of a choice
  int32_t prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0;
  double prefill_seconds = 0;  // from the first step that works on it to its first token
  double decode_seconds = 0;   // from the first token to the last
};

struct EngineOptions {
  int32_t context_length = 0;  // 0: the model's own; never more than that
  int32_t max_sequences = 32;  // decoding at once
  int32_t max_queued = 256;    // waiting; beyond: kResourceExhausted
  int32_t chunk_tokens =
      256;  // rows of prefill a step carries at most, so that others' tokens come in between
  int32_t kv_pages = 0;  // total; what running sequences do not use holds reusable prefixes
  std::vector<text::TokenId> eos_tokens;
  uint64_t seed_source = 0;  // seeds of requests that bring none are derived from it
};

struct EngineStats {
  int32_t running = 0, queued = 0;
  int32_t kv_pages_total = 0, kv_pages_used = 0, kv_pages_cached = 0;
  uint64_t prompt_tokens = 0, cached_tokens = 0, generated_tokens = 0, steps = 0;
  uint64_t preemptions = 0;  // sequences sent back to waiting because KV pages ran out
};

// Computes the steps of the model, in the order they are begun. On one device a step is computed when it is finished. Where
// layers are spread over stages, the first stages work on a step as soon as it is begun, while later ones are still at
// the steps before.
class StepExecutor {
 public:
  virtual ~StepExecutor() = default;
  virtual int32_t depth() const = 0;  // steps that may be under way at a time
  virtual Result<void> begin(
      const backend::StepPlan& plan) = 0;  // `plan` stays as it is until finished
  // Of the oldest begun: logits [plan.logits_rows, vocab_size], row-major, into `logits`. After an error nothing is
  // under way any more.
  virtual Result<void> finish(std::span<float> logits) = 0;
  // After the steps begun so far, before the next.
  virtual void copy_kv_page(int32_t from, int32_t to) = 0;
};

// One thread.
class Engine {
 public:
  Engine(StepExecutor& executor, const text::Tokenizer& tokenizer, const models::ModelInfo& model,
         EngineOptions options);
  ~Engine();

  // kInvalidArgument: over the context limit (says both numbers), or a parameter out of range (says which);
  // kResourceExhausted: the queue is full.
  Result<void> submit(Request request);
  void cancel(RequestId id);  // its KV is free at the next step; gives a last delta kCancelled
  bool idle() const;          // no requests, and no steps under way
  // Begins what steps there is room for, and finishes and samples the oldest. An error of the executor fails every
  // running request.
  std::vector<Delta> step();
  EngineStats stats() const;
  int32_t context_length()
      const;  // prompt and output together: the least of the model's, the options' and the pages'

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cohort::engine
