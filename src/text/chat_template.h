// A model's chat template (Jinja), rendered to spans that remember which text came from users.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "text/tokenizer.h"

namespace cohort::text {

struct ChatTemplateInput {
  Json messages = Json::array();  // as in OpenAI's API: role, content, tool_calls...
  Json tools;                     // null or an array
  bool add_generation_prompt = true;
  Json extra = Json::
      object();  // further template variables: enable_thinking, reasoning_effort, documents...
  int64_t now_unix_seconds = 0;  // for strftime_now
};

struct ChatTemplateOptions {
  std::string bos_token, eos_token;
  Json special_tokens =
      Json::object();  // further names a template may use: pad_token, unk_token...
};

// Immutable after compile(); render() is safe from many threads and bounded in steps, depth and output.
class ChatTemplate {
 public:
  // kInvalidArgument gives line and column of a syntax error.
  static Result<ChatTemplate> compile(std::string_view source, ChatTemplateOptions options);
  // From tokenizer_config.json's text (chat_template: a string, or a list of named ones of which "default" is taken), or
  // from chat_template.jinja's text when that is not empty.
  static Result<ChatTemplate> load(std::string_view tokenizer_config_json,
                                   std::string_view chat_template_jinja);

  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  // Text that came from `input` (strings and keys in messages, tools and extra) is untrusted, all else trusted; so is a
  // message's role when it is a usual one, because templates build special tokens around it. A template's raise_exception
  // is kInvalidArgument with its message; a broken bound is kTooLarge and says which.
  Result<std::vector<TextSpan>> render(const ChatTemplateInput& input) const;

 private:
  struct State;
  explicit ChatTemplate(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace cohort::text
