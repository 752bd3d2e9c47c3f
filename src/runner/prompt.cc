#include "runner/prompt.h"

namespace cohort::runner {
namespace {

using Tokens = std::vector<text::TokenId>;

Result<void> check_text(const LoadedModel& model) {
  if (model.has_tokenizer) return {};
  return fail(Code::kUnsupported,
              "the model has no tokenizer.json; only prompt_tokens can be given");
}

Result<Tokens> chat_tokens(const GenerateRequest& request, const LoadedModel& model, int64_t now) {
  COHORT_TRY_VOID(check_text(model));
  if (!model.chat_template) {
    const Error& why = model.chat_template.error();
    return fail(Code::kUnsupported, "the model cannot chat: {}; give a plain prompt instead",
                why.message);
  }
  if (!request.messages->is_array() || request.messages->empty()) {
    return fail(Code::kInvalidArgument, "messages: expected at least one message");
  }
  const text::ChatTemplateInput input{.messages = *request.messages,
                                      .tools = request.tools.value_or(Json()),
                                      .extra = request.template_options,
                                      .now_unix_seconds = now};
  COHORT_TRY(const auto spans, model.chat_template->render(input));
  return model.tokenizer->encode(spans);
}

Result<Tokens> prompt_tokens(const GenerateRequest& request, const LoadedModel& model,
                             int64_t now) {
  const int given =
      request.messages.has_value() + request.prompt.has_value() + request.prompt_tokens.has_value();
  if (given != 1) {
    return fail(Code::kInvalidArgument,
                "exactly one of messages, prompt and prompt_tokens is wanted; {} are given", given);
  }
  if (request.messages) return chat_tokens(request, model, now);
  if (request.prompt_tokens) return *request.prompt_tokens;
  COHORT_TRY_VOID(check_text(model));
  return model.tokenizer->encode(*request.prompt, /*add_special_tokens=*/true);
}

std::string echo_of(const GenerateRequest& request, const text::Tokenizer& tokenizer) {
  if (!request.echo) return "";
  if (request.prompt) return *request.prompt;
  if (request.prompt_tokens) return tokenizer.decode(*request.prompt_tokens, true);
  return "";
}

}  // namespace

Result<Submission> prepare(const GenerateRequest& request, const LoadedModel& model,
                           int64_t now_unix_seconds) {
  COHORT_TRY(Tokens prompt, prompt_tokens(request, model, now_unix_seconds));
  return Submission{.request = {.id = request.id,
                                .prompt = std::move(prompt),
                                .generated = request.generated,
                                .max_tokens = request.max_tokens,
                                .sampling = request.sampling.over(model.defaults.sampling),
                                .stop = request.stop,
                                .choices = request.choices},
                    .echo = echo_of(request, *model.tokenizer)};
}

}  // namespace cohort::runner
