// How the next token is chosen. A plain value shared by the API (which fills it), the runner's protocol (which carries
// it) and the engine (which obeys it).
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
  float repetition_penalty = 1.0f;  // divides positive and multiplies negative logits of seen tokens
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

}  // namespace cohort
