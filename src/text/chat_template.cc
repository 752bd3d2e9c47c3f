#include "text/chat_template.h"

#include <algorithm>

#include "text/jinja/interpreter.h"
#include "text/jinja/parser.h"

namespace cohort::text {
namespace {

using jinja::Value;

// Templates build special tokens around these ("<|" + role + "|>"), and a name of this list forges nothing.
constexpr std::string_view kRoles[] = {"system",   "user",  "assistant", "tool",        "developer",
                                       "function", "model", "ipython",   "observation", "root"};

Value untrusted(const std::string& text) { return Value(jinja::Text(text, false)); }

Value convert(const Json& json);

Value convert_object(const Json& json) {
  std::vector<std::pair<Value, Value>> entries;
  entries.reserve(json.size());
  for (const auto& [key, item] : json.items()) entries.emplace_back(untrusted(key), convert(item));
  return jinja::make_dict(std::move(entries));
}

Value convert(const Json& json) {
  switch (json.type()) {
    case Json::value_t::boolean: return Value(json.get<bool>());
    case Json::value_t::number_integer: return Value(json.get<int64_t>());
    case Json::value_t::number_unsigned:
      if (json.get<uint64_t>() <= INT64_MAX) return Value(json.get<int64_t>());
      return Value(json.get<double>());
    case Json::value_t::number_float: return Value(json.get<double>());
    case Json::value_t::string: return untrusted(json.get_ref<const std::string&>());
    case Json::value_t::object: return convert_object(json);
    case Json::value_t::array: {
      std::vector<Value> items;
      items.reserve(json.size());
      for (const Json& item : json) items.push_back(convert(item));
      return jinja::make_list(std::move(items));
    }
    default: return Value(jinja::None{});
  }
}

Value convert_message(const Json& message) {
  if (!message.is_object()) return convert(message);
  std::vector<std::pair<Value, Value>> entries;
  for (const auto& [key, item] : message.items()) {
    const bool known_role = key == "role" && item.is_string() &&
                            std::find(std::begin(kRoles), std::end(kRoles),
                                      item.get_ref<const std::string&>()) != std::end(kRoles);
    entries.emplace_back(untrusted(key), known_role
                                             ? jinja::text_value(item.get_ref<const std::string&>())
                                             : convert(item));
  }
  return jinja::make_dict(std::move(entries));
}

Value convert_messages(const Json& messages) {
  std::vector<Value> items;
  items.reserve(messages.size());
  for (const Json& message : messages) items.push_back(convert_message(message));
  return jinja::make_list(std::move(items));
}

// A special token is a string, or an object with its text in "content"; "" when it is neither.
std::string token_text(const Json& token) {
  if (token.is_string()) return token.get<std::string>();
  const auto content = token.is_object() ? token.find("content") : token.end();
  return token.is_object() && content != token.end() && content->is_string()
             ? content->get<std::string>()
             : "";
}

Result<std::string> template_in(const Json& config) {
  const auto found = config.find("chat_template");
  if (found != config.end() && found->is_string()) return found->get<std::string>();
  if (found == config.end() || !found->is_array()) {
    return fail(Code::kNotFound, "tokenizer_config.json has no chat_template");
  }
  for (const Json& entry : *found) {
    if (!entry.is_object() || entry.value("name", Json()) != "default") continue;
    const auto source = entry.find("template");
    if (source != entry.end() && source->is_string()) return source->get<std::string>();
  }
  return fail(Code::kNotFound, "tokenizer_config.json has no chat_template named 'default'");
}

ChatTemplateOptions options_in(const Json& config) {
  ChatTemplateOptions options;
  for (const auto& [name, value] : config.items()) {
    if (!name.ends_with("_token")) continue;
    std::string text = token_text(value);
    if (text.empty()) continue;
    if (name == "bos_token") {
      options.bos_token = std::move(text);
    } else if (name == "eos_token") {
      options.eos_token = std::move(text);
    } else {
      options.special_tokens[name] = std::move(text);
    }
  }
  return options;
}

}  // namespace

struct ChatTemplate::State {
  std::unique_ptr<const jinja::Template> parsed;
  ChatTemplateOptions options;
};

ChatTemplate::ChatTemplate(std::unique_ptr<State> state) : state_(std::move(state)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

Result<ChatTemplate> ChatTemplate::compile(std::string_view source, ChatTemplateOptions options) {
  auto parsed = jinja::parse(source);
  if (!parsed) return fail_in("chat template", std::move(parsed).error());
  return ChatTemplate(std::make_unique<State>(State{std::move(*parsed), std::move(options)}));
}

Result<ChatTemplate> ChatTemplate::load(std::string_view tokenizer_config_json,
                                        std::string_view chat_template_jinja) {
  auto config = parse_json(tokenizer_config_json);
  if (!config) return fail_in("tokenizer_config.json", std::move(config).error());
  if (!config->is_object())
    return fail(Code::kInvalidArgument, "tokenizer_config.json: expected an object");
  if (!chat_template_jinja.empty()) return compile(chat_template_jinja, options_in(*config));
  COHORT_TRY(const std::string source, template_in(*config));
  return compile(source, options_in(*config));
}

Result<std::vector<TextSpan>> ChatTemplate::render(const ChatTemplateInput& input) const {
  jinja::Variables variables;
  if (input.extra.is_object()) {
    for (const auto& [name, value] : input.extra.items())
      variables.emplace_back(name, convert(value));
  }
  const ChatTemplateOptions& options = state_->options;
  for (const auto& [name, token] : options.special_tokens.items()) {
    variables.emplace_back(name, jinja::text_value(token_text(token)));
  }
  if (!options.bos_token.empty())
    variables.emplace_back("bos_token", jinja::text_value(options.bos_token));
  if (!options.eos_token.empty())
    variables.emplace_back("eos_token", jinja::text_value(options.eos_token));
  variables.emplace_back("messages", convert_messages(input.messages));
  variables.emplace_back("tools", convert(input.tools));
  variables.emplace_back("add_generation_prompt", Value(input.add_generation_prompt));
  jinja::Interpreter interpreter(*state_->parsed, jinja::Limits{}, input.now_unix_seconds);
  COHORT_TRY(const jinja::Text text, interpreter.render(variables));
  return text.spans();
}

}  // namespace cohort::text
