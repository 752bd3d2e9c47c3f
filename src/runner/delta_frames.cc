#include "runner/delta_frames.h"

#include "runner/token_text.h"

namespace cohort::runner {
namespace {

std::string finish_name(engine::FinishReason reason) {
  switch (reason) {
    case engine::FinishReason::kNone: return "";
    case engine::FinishReason::kStop: return "stop";
    case engine::FinishReason::kLength: return "length";
    case engine::FinishReason::kCancelled: return "cancelled";
    case engine::FinishReason::kError: return "error";
  }
  return "";
}

TokenLogprob to_frame(const engine::TokenLogprob& token, const text::Tokenizer& tokenizer) {
  TokenText text = token_text(tokenizer, token.id);
  return {.id = token.id,
          .piece = std::move(text.piece),
          .bytes = std::move(text.bytes),
          .logprob = token.logprob};
}

SampledLogprobs to_frame(const engine::SampledLogprobs& sampled, const text::Tokenizer& tokenizer) {
  SampledLogprobs frame{.chosen = to_frame(sampled.chosen, tokenizer), .top = {}};
  for (const engine::TokenLogprob& token : sampled.top) {
    frame.top.push_back(to_frame(token, tokenizer));
  }
  return frame;
}

}  // namespace

GenerateDelta to_frame(const engine::Delta& delta, const text::Tokenizer& tokenizer) {
  GenerateDelta frame{.id = delta.id,
                      .choice = delta.choice,
                      .text = delta.text,
                      .tokens = delta.tokens,
                      .finish_reason = finish_name(delta.finish),
                      .prompt_tokens = delta.prompt_tokens,
                      .cached_tokens = delta.cached_tokens,
                      .completion_tokens = delta.completion_tokens,
                      .prefill_seconds = delta.prefill_seconds,
                      .decode_seconds = delta.decode_seconds};
  for (const engine::SampledLogprobs& sampled : delta.logprobs) {
    frame.logprobs.push_back(to_frame(sampled, tokenizer));
  }
  if (delta.finish == engine::FinishReason::kError) {
    frame.error = failure_frame({Code::kInternal, delta.error});
  }
  return frame;
}

Failure failure_frame(const Error& error) {
  return {.code = std::string(code_name(error.code)), .message = error.message};
}

GenerateDelta refusal_frame(uint64_t id, const Error& error) {
  return {.id = id, .finish_reason = "error", .error = failure_frame(error)};
}

RunnerStats to_frame(const engine::EngineStats& stats, uint64_t rss_bytes) {
  return {.running = stats.running,
          .queued = stats.queued,
          .kv_pages_total = stats.kv_pages_total,
          .kv_pages_used = stats.kv_pages_used,
          .kv_pages_cached = stats.kv_pages_cached,
          .prompt_tokens = stats.prompt_tokens,
          .cached_tokens = stats.cached_tokens,
          .generated_tokens = stats.generated_tokens,
          .rss_bytes = rss_bytes};
}

}  // namespace cohort::runner
