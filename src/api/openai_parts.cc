#include "api/openai_parts.h"

#include <algorithm>

#include "api/openai.h"

namespace cohort::api {
namespace {

Json logprob_entry(const runner::TokenLogprob& token) {
  return Json{{"token", token.piece}, {"logprob", token.logprob}, {"bytes", token.bytes}};
}

}  // namespace

void UsageCounter::add(const runner::GenerateDelta& last) {
  if (last.choice % choices_per_request_ == 0) {  // choices of one request share its prompt
    prompt_tokens_ += last.prompt_tokens;
    cached_tokens_ += last.cached_tokens;
    prefill_seconds_ += last.prefill_seconds;
  }
  completion_tokens_ += last.completion_tokens;
  decode_seconds_ = std::max(decode_seconds_, last.decode_seconds);
}

Json UsageCounter::usage() const {
  return Json{{"prompt_tokens", prompt_tokens_},
              {"completion_tokens", completion_tokens_},
              {"total_tokens", prompt_tokens_ + completion_tokens_},
              {"prompt_tokens_details", {{"cached_tokens", cached_tokens_}, {"audio_tokens", 0}}},
              {"completion_tokens_details", {{"reasoning_tokens", 0}, {"audio_tokens", 0}}}};
}

Json UsageCounter::timings() const {
  return Json{{"prefill_seconds", prefill_seconds_}, {"decode_seconds", decode_seconds_}};
}

std::string sse_event(const Json& data) { return "data: " + dump_json(data) + "\n\n"; }
std::string sse_done() { return "data: [DONE]\n\n"; }
std::string sse_keep_alive() { return ": keep-alive\n\n"; }
std::string sse_failure(const Error& error) { return sse_event(openai_error(error)) + sse_done(); }

Json reply_of(const ReplyHead& head, std::string_view object) {
  return Json{{"id", head.id},
              {"object", object},
              {"created", head.created_unix_seconds},
              {"model", head.model},
              {"choices", Json::array()}};
}

void append_chat_logprobs(const std::vector<runner::SampledLogprobs>& from, Json& content) {
  for (const runner::SampledLogprobs& sampled : from) {
    Json entry = logprob_entry(sampled.chosen);
    entry["top_logprobs"] = Json::array();
    for (const runner::TokenLogprob& token : sampled.top)
      entry["top_logprobs"].push_back(logprob_entry(token));
    content.push_back(std::move(entry));
  }
}

Json chat_logprobs(Json content) {
  return Json{{"content", std::move(content)}, {"refusal", nullptr}};
}

Json CompletionLogprobs::take(const std::vector<runner::SampledLogprobs>& from) {
  Json out{{"tokens", Json::array()},
           {"token_logprobs", Json::array()},
           {"top_logprobs", Json::array()},
           {"text_offset", Json::array()}};
  for (const runner::SampledLogprobs& sampled : from) {
    out["tokens"].push_back(sampled.chosen.piece);
    out["token_logprobs"].push_back(sampled.chosen.logprob);
    Json top = Json::object();
    for (const runner::TokenLogprob& token : sampled.top) top[token.piece] = token.logprob;
    out["top_logprobs"].push_back(std::move(top));
    out["text_offset"].push_back(offset_);
    offset_ += sampled.chosen.bytes.size();
  }
  return out;
}

}  // namespace cohort::api
