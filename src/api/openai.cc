// Bodies of OpenAI's chat and text completions into plain requests.
#include "api/openai.h"

#include <ctime>
#include <random>

#include "api/openai_encoder.h"
#include "api/openai_fields.h"
#include "api/openai_messages.h"

namespace cohort::api {
namespace {

constexpr int32_t kDefaultCompletionTokens = 16;  // as OpenAI's older API has it
constexpr size_t kMaxPrompts = 32;

std::string new_id(std::string_view prefix) {
  std::random_device random;
  return fmt::format("{}{:08x}{:08x}{:08x}", prefix, random(), random(), random());
}

std::vector<net::Header> stream_headers() {
  return {{"Content-Type", "text/event-stream; charset=utf-8"},
          {"Cache-Control", "no-cache"},
          {"X-Accel-Buffering", "no"}};
}

std::vector<net::Header> json_headers() { return {{"Content-Type", "application/json"}}; }

Decoded make_decoded(const CommonFields& fields, std::vector<runner::GenerateRequest> requests) {
  Decoded decoded;
  decoded.model = fields.model;
  decoded.requests = std::move(requests);
  decoded.stream = fields.stream;
  decoded.headers = fields.stream ? stream_headers() : json_headers();
  return decoded;
}

ReplyHead make_head(const Decoded& decoded, std::string_view id_prefix, bool include_usage) {
  const runner::GenerateRequest& first = decoded.requests.front();
  return {.id = new_id(id_prefix),
          .created_unix_seconds = std::time(nullptr),
          .model = decoded.model,
          .include_usage = include_usage,
          .choices = first.choices * static_cast<int32_t>(decoded.requests.size()),
          .choices_per_request = first.choices,
          .logprobs = first.sampling.logprobs >= 0};
}

// --- chat

struct ChatFields {
  Json messages, tools, tool_choice, chat_template_kwargs, reasoning;
  std::optional<int32_t> max_completion_tokens, top_logprobs;
  bool logprobs = false;
  Json enable_thinking, reasoning_effort, add_generation_prompt, continue_final_message;

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("messages", messages);
    visit("tools", tools);
    visit("tool_choice", tool_choice);
    visit("chat_template_kwargs", chat_template_kwargs);
    visit("reasoning", reasoning);
    visit("max_completion_tokens", max_completion_tokens);
    visit("top_logprobs", top_logprobs);
    visit("logprobs", logprobs);
    visit("enable_thinking", enable_thinking);
    visit("reasoning_effort", reasoning_effort);
    visit("add_generation_prompt", add_generation_prompt);
    visit("continue_final_message", continue_final_message);
  }
};

// What the template may look at beside messages and tools; what a model does not know is of no effect.
Result<Json> template_options(const ChatFields& chat) {
  if (!chat.chat_template_kwargs.is_null() && !chat.chat_template_kwargs.is_object()) {
    return fail(Code::kUnprocessable, "chat_template_kwargs: expected an object");
  }
  Json options = chat.chat_template_kwargs.is_null() ? Json::object() : chat.chat_template_kwargs;
  if (chat.reasoning.is_object() && chat.reasoning.contains("effort")) {
    options["reasoning_effort"] = chat.reasoning["effort"];
  }
  if (!chat.enable_thinking.is_null()) options["enable_thinking"] = chat.enable_thinking;
  if (!chat.reasoning_effort.is_null()) options["reasoning_effort"] = chat.reasoning_effort;
  if (!chat.add_generation_prompt.is_null())
    options["add_generation_prompt"] = chat.add_generation_prompt;
  if (!chat.continue_final_message.is_null())
    options["continue_final_message"] = chat.continue_final_message;
  return options;
}

Result<void> take_tools(const ChatFields& chat, runner::GenerateRequest& request) {
  if (!chat.tool_choice.is_null() && chat.tool_choice != "auto" && chat.tool_choice != "none") {
    return fail(Code::kUnprocessable, "tool_choice: only \"auto\" and \"none\" are available");
  }
  if (chat.tools.is_null()) return {};
  if (!chat.tools.is_array()) return fail(Code::kUnprocessable, "tools: expected an array");
  for (size_t i = 0; i < chat.tools.size(); ++i) {
    const Json& tool = chat.tools[i];
    if (!tool.is_object()) return fail(Code::kUnprocessable, "tools[{}]: expected an object", i);
    const Json function = tool.value("function", Json());
    if (!function.is_object() || !function.value("name", Json()).is_string()) {
      return fail(Code::kUnprocessable, "tools[{}].function.name: expected a string", i);
    }
  }
  if (!chat.tools.empty() && chat.tool_choice != "none") request.tools = chat.tools;
  return {};
}

Result<void> take_chat_logprobs(const ChatFields& chat, RequestedSampling& sampling) {
  if (!chat.logprobs && chat.top_logprobs.value_or(0) > 0) {
    return fail(Code::kUnprocessable, "top_logprobs: needs logprobs to be true");
  }
  const int32_t top = chat.top_logprobs.value_or(0);
  if (top < 0 || top > kMaxTopLogprobs) {
    return fail(Code::kUnprocessable, "top_logprobs: expected an integer from 0 to {}, got {}",
                kMaxTopLogprobs, top);
  }
  if (chat.logprobs) sampling.logprobs = top;
  return {};
}

class OpenAiChat final : public Dialect {
 public:
  Result<Decoded> decode(const Json& body) const override {
    COHORT_TRY(auto common, from_json<CommonFields>(body));
    COHORT_TRY(auto chat, from_json<ChatFields>(body));
    if (chat.max_completion_tokens) common.max_tokens = chat.max_completion_tokens;
    runner::GenerateRequest request;
    COHORT_TRY_VOID(apply(common, request));
    COHORT_TRY(request.messages, normalise_messages(chat.messages));
    COHORT_TRY(request.template_options, template_options(chat));
    COHORT_TRY_VOID(take_tools(chat, request));
    COHORT_TRY_VOID(take_chat_logprobs(chat, request.sampling));
    Decoded decoded = make_decoded(common, {std::move(request)});
    ReplyHead head = make_head(decoded, "chatcmpl-", common.stream_options.include_usage);
    decoded.encoder =
        decoded.stream ? chat_stream(std::move(head)) : chat_collected(std::move(head));
    return decoded;
  }

  net::HttpResponse error_response(const Error& error) const override {
    return openai_error_response(error);
  }
};

// --- text

struct CompletionFields {
  Json prompt, suffix;
  bool echo = false;
  std::optional<int32_t> logprobs, best_of;

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("prompt", prompt);
    visit("suffix", suffix);
    visit("echo", echo);
    visit("logprobs", logprobs);
    visit("best_of", best_of);
  }
};

Result<runner::GenerateRequest> with_prompt(runner::GenerateRequest request, const Json& prompt,
                                            const std::string& path) {
  if (prompt.is_string()) {
    request.prompt = prompt.get<std::string>();
    return request;
  }
  COHORT_TRY(request.prompt_tokens, from_json<std::vector<int32_t>>(prompt, path));
  if (request.prompt_tokens->empty())
    return fail(Code::kUnprocessable, "{}: expected at least one token", path);
  return request;
}

// A prompt is a text or an array of tokens; an array of such is several requests.
Result<std::vector<runner::GenerateRequest>> with_prompts(const runner::GenerateRequest& request,
                                                          const Json& prompt) {
  std::vector<runner::GenerateRequest> requests;
  if (!prompt.is_string() && !prompt.is_array()) {
    return fail(Code::kUnprocessable,
                "prompt: expected a string, an array of strings or an array of tokens");
  }
  if (prompt.is_string() || prompt.empty() || prompt[0].is_number()) {
    COHORT_TRY(requests.emplace_back(), with_prompt(request, prompt, "prompt"));
    return requests;
  }
  if (prompt.size() > kMaxPrompts) {
    return fail(Code::kUnprocessable, "prompt: expected at most {} prompts, got {}", kMaxPrompts,
                prompt.size());
  }
  for (size_t i = 0; i < prompt.size(); ++i) {
    COHORT_TRY(requests.emplace_back(),
               with_prompt(request, prompt[i], fmt::format("prompt[{}]", i)));
  }
  return requests;
}

class OpenAiCompletions final : public Dialect {
 public:
  Result<Decoded> decode(const Json& body) const override {
    COHORT_TRY(auto common, from_json<CommonFields>(body));
    COHORT_TRY(const auto text, from_json<CompletionFields>(body));
    if (!common.max_tokens) common.max_tokens = kDefaultCompletionTokens;
    runner::GenerateRequest request;
    COHORT_TRY_VOID(apply(common, request));
    COHORT_TRY_VOID(check(text, request));
    request.echo = text.echo;
    request.sampling.logprobs = text.logprobs.value_or(-1);
    COHORT_TRY(auto requests, with_prompts(request, text.prompt));
    Decoded decoded = make_decoded(common, std::move(requests));
    ReplyHead head = make_head(decoded, "cmpl-", common.stream_options.include_usage);
    decoded.encoder =
        decoded.stream ? completion_stream(std::move(head)) : completion_collected(std::move(head));
    return decoded;
  }

  net::HttpResponse error_response(const Error& error) const override {
    return openai_error_response(error);
  }

 private:
  static Result<void> check(const CompletionFields& text, const runner::GenerateRequest& request) {
    if (text.suffix.is_string() && !text.suffix.get_ref<const std::string&>().empty()) {
      return fail(Code::kUnprocessable, "suffix: filling in the middle is not available");
    }
    if (text.best_of && *text.best_of != request.choices) {
      return fail(Code::kUnprocessable, "best_of: is not available; use n");
    }
    const int32_t logprobs = text.logprobs.value_or(0);
    if (logprobs < 0 || logprobs > kMaxTopLogprobs) {
      return fail(Code::kUnprocessable, "logprobs: expected an integer from 0 to {}, got {}",
                  kMaxTopLogprobs, logprobs);
    }
    return {};
  }
};

}  // namespace

std::unique_ptr<Dialect> openai_chat() { return std::make_unique<OpenAiChat>(); }
std::unique_ptr<Dialect> openai_completions() { return std::make_unique<OpenAiCompletions>(); }

}  // namespace cohort::api
