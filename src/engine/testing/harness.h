// Runs an engine on the fake model and gathers what its requests gave.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "engine/testing/fake_model.h"

namespace cohort::engine::testing {

struct Answer {
  std::string text;
  std::vector<text::TokenId> tokens;
  std::vector<SampledLogprobs> logprobs;
  int32_t deltas = 0;
  Delta last;  // with the finish reason
};

inline EngineOptions fake_options() {
  EngineOptions options;
  options.max_sequences = 8;
  options.max_queued = 64;
  options.chunk_tokens = 64;
  options.kv_pages = 256;
  options.eos_tokens = {kEos};
  options.seed_source = 42;
  return options;
}

// Random ids above the end-of-sequence token.
inline std::vector<text::TokenId> random_tokens(uint64_t seed, size_t count) {
  std::vector<text::TokenId> tokens(count);
  for (size_t i = 0; i < count; ++i) {
    tokens[i] = static_cast<text::TokenId>(1 + random_bits(seed, i) % (kVocab - 1));
  }
  return tokens;
}

struct Harness {
  explicit Harness(EngineOptions options = fake_options(), int32_t depth = 1)
      : executor(options.kv_pages, depth),
        engine(executor, tokenizer, fake_model_info(), options) {}

  // Calls of a test do not expect a refusal.
  void submit(Request request) {
    const auto done = engine.submit(std::move(request));
    if (!done) fmt::print(stderr, "{}\n", done.error().message);
    COHORT_CHECK(done.has_value());
  }

  // The number of tokens that came, over all requests.
  size_t step() {
    size_t tokens = 0;
    for (Delta& delta : engine.step()) {
      Answer& answer = answers[{delta.id, delta.choice}];
      COHORT_CHECK(answer.last.finish == FinishReason::kNone);  // nothing follows the last delta
      ++answer.deltas;
      tokens += delta.tokens.size();
      answer.text += delta.text;
      answer.tokens.insert(answer.tokens.end(), delta.tokens.begin(), delta.tokens.end());
      answer.logprobs.insert(answer.logprobs.end(), delta.logprobs.begin(), delta.logprobs.end());
      answer.last = std::move(delta);
    }
    return tokens;
  }

  void drain() {
    for (int steps = 0; !engine.idle(); ++steps) {
      COHORT_CHECK(steps < 100'000);
      step();
    }
  }

  const Answer& answer(RequestId id, int32_t choice = 0) { return answers[{id, choice}]; }

  Answer run(Request request) {
    const RequestId id = request.id;
    submit(std::move(request));
    drain();
    return answers[{id, 0}];
  }

  FakeTokenizer tokenizer;
  FakeExecutor executor;
  Engine engine;
  std::map<std::pair<RequestId, int32_t>, Answer> answers;
};

// What a request gives on an engine that has nothing else to do and has seen nothing before.
inline std::map<int32_t, Answer> alone(Request request, int32_t context_length = 0) {
  EngineOptions options = fake_options();
  options.chunk_tokens = 1 << 20;
  options.kv_pages = 1024;
  options.context_length = context_length;
  options.max_sequences = 128;
  Harness harness(options);
  harness.submit(std::move(request));
  harness.drain();
  std::map<int32_t, Answer> choices;
  for (auto& [key, answer] : harness.answers) choices[key.second] = std::move(answer);
  return choices;
}

}  // namespace cohort::engine::testing
