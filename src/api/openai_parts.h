// Pieces of OpenAI's replies that all four encoders are made of.
#pragma once

#include <string>
#include <vector>

#include "api/openai_encoder.h"
#include "base/json.h"
#include "runner/protocol.h"

namespace cohort::api {

// Sums up the last deltas of all choices.
class UsageCounter {
 public:
  explicit UsageCounter(int32_t choices_per_request) : choices_per_request_(choices_per_request) {}
  void add(const runner::GenerateDelta& last);
  Json usage() const;
  Json timings() const;  // an extension: seconds, so that a client can show speeds

 private:
  int32_t choices_per_request_;
  int64_t prompt_tokens_ = 0, cached_tokens_ = 0, completion_tokens_ = 0;
  double prefill_seconds_ = 0, decode_seconds_ = 0;
};

std::string sse_event(const Json& data);
std::string sse_done();
std::string sse_keep_alive();
std::string sse_failure(const Error& error);  // an error event, and the end

// {"id", "object", "created", "model", "choices": []}
Json reply_of(const ReplyHead& head, std::string_view object);

// {"content": [{token, logprob, bytes, top_logprobs}], "refusal": null}
void append_chat_logprobs(const std::vector<runner::SampledLogprobs>& from, Json& content);
Json chat_logprobs(Json content);

// {"tokens", "token_logprobs", "top_logprobs", "text_offset"} of the older API. Offsets count bytes of the text.
class CompletionLogprobs {
 public:
  Json take(const std::vector<runner::SampledLogprobs>& from);

 private:
  size_t offset_ = 0;
};

}  // namespace cohort::api
