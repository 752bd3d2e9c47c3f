// What both of OpenAI's completion bodies share, and the checks on it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "runner/protocol.h"

namespace cohort::api {

inline constexpr int32_t kMaxChoices = 8;
inline constexpr size_t kMaxStops = 16;
inline constexpr int32_t kMaxTopLogprobs = 20;

struct StreamOptions {
  bool include_usage = false;
  template <class Visitor>
  void fields(Visitor& visit) {
    visit("include_usage", include_usage);
  }
};

struct CommonFields {
  std::string model;
  bool stream = false;
  StreamOptions stream_options;
  std::optional<double> temperature, top_p, min_p, typical_p;
  std::optional<double> repetition_penalty, presence_penalty, frequency_penalty;
  std::optional<int32_t> top_k, n, min_tokens, max_tokens;
  std::optional<int64_t> seed;
  std::map<int32_t, float> logit_bias;
  bool ignore_eos = false;
  Json stop;
  Json response_format;

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("model", model);
    visit("stream", stream);
    visit("stream_options", stream_options);
    visit("temperature", temperature);
    visit("top_p", top_p);
    visit("min_p", min_p);
    visit("typical_p", typical_p);
    visit("repetition_penalty", repetition_penalty);
    visit("presence_penalty", presence_penalty);
    visit("frequency_penalty", frequency_penalty);
    visit("top_k", top_k);
    visit("n", n);
    visit("min_tokens", min_tokens);
    visit("max_tokens", max_tokens);
    visit("seed", seed);
    visit("logit_bias", logit_bias);
    visit("ignore_eos", ignore_eos);
    visit("stop", stop);
    visit("response_format", response_format);
  }
};

// Fills everything of the request but its prompt. kUnprocessable with the field's name.
Result<void> apply(const CommonFields& fields, runner::GenerateRequest& request);

}  // namespace cohort::api
