// How the next token is chosen. Plain values: the API fills a RequestedSampling, the runner's protocol carries it, the
// runner completes it with the model's own defaults to a Sampling, which the engine obeys.
#pragma once

#include <cstdint>
#include <map>
#include <optional>

namespace cohort {

struct Sampling {
  float temperature = 1.0f;  // 0 = greedy
  float top_p = 1.0f;        // in (0, 1]
  int32_t top_k = 0;         // 0 = all
  float min_p = 0.0f;        // in [0, 1]
  float typical_p = 1.0f;    // in (0, 1]
  float repetition_penalty =
      1.0f;  // divides positive and multiplies negative logits of seen tokens
  float presence_penalty = 0.0f;
  float frequency_penalty = 0.0f;
  std::map<int32_t, float> logit_bias;  // token id -> added to the logit
  std::optional<uint64_t> seed;         // none: drawn by the runner
  int32_t logprobs = -1;                // -1 none, else the number of alternatives (0..20)
  bool ignore_eos = false;
  int32_t min_tokens = 0;

  bool operator==(const Sampling&) const = default;

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("temperature", temperature);
    visit("top_p", top_p);
    visit("top_k", top_k);
    visit("min_p", min_p);
    visit("typical_p", typical_p);
    visit("repetition_penalty", repetition_penalty);
    visit("presence_penalty", presence_penalty);
    visit("frequency_penalty", frequency_penalty);
    visit("logit_bias", logit_bias);
    visit("seed", seed);
    visit("logprobs", logprobs);
    visit("ignore_eos", ignore_eos);
    visit("min_tokens", min_tokens);
  }
};

// What a request says of it. Left open: what the model's generation_config.json says, else Sampling's default.
struct RequestedSampling {
  std::optional<float> temperature, top_p;
  std::optional<int32_t> top_k;
  std::optional<float> min_p, typical_p;
  std::optional<float> repetition_penalty, presence_penalty, frequency_penalty;
  std::map<int32_t, float> logit_bias;
  std::optional<uint64_t> seed;
  int32_t logprobs = -1;
  bool ignore_eos = false;
  int32_t min_tokens = 0;

  bool operator==(const RequestedSampling&) const = default;

  Sampling over(const Sampling& defaults) const {
    return {.temperature = temperature.value_or(defaults.temperature),
            .top_p = top_p.value_or(defaults.top_p),
            .top_k = top_k.value_or(defaults.top_k),
            .min_p = min_p.value_or(defaults.min_p),
            .typical_p = typical_p.value_or(defaults.typical_p),
            .repetition_penalty = repetition_penalty.value_or(defaults.repetition_penalty),
            .presence_penalty = presence_penalty.value_or(defaults.presence_penalty),
            .frequency_penalty = frequency_penalty.value_or(defaults.frequency_penalty),
            .logit_bias = logit_bias,
            .seed = seed,
            .logprobs = logprobs,
            .ignore_eos = ignore_eos,
            .min_tokens = min_tokens};
  }

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("temperature", temperature);
    visit("top_p", top_p);
    visit("top_k", top_k);
    visit("min_p", min_p);
    visit("typical_p", typical_p);
    visit("repetition_penalty", repetition_penalty);
    visit("presence_penalty", presence_penalty);
    visit("frequency_penalty", frequency_penalty);
    visit("logit_bias", logit_bias);
    visit("seed", seed);
    visit("logprobs", logprobs);
    visit("ignore_eos", ignore_eos);
    visit("min_tokens", min_tokens);
  }
};

}  // namespace cohort
