#include "api/openai_messages.h"

#include <string>

namespace cohort::api {
namespace {

tl::unexpected<Error> expected(const std::string& path, std::string_view what) {
  return fail(Code::kUnprocessable, "{}: expected {}", path, what);
}

Result<std::string> normalise_role(const Json& message, const std::string& path) {
  const auto found = message.find("role");
  if (found == message.end() || !found->is_string()) return expected(path + ".role", "a string");
  const auto role = found->get<std::string>();
  if (role == "developer") return "system";
  if (role == "function") return "tool";
  if (role == "system" || role == "user" || role == "assistant" || role == "tool") return role;
  return fail(Code::kUnprocessable,
              "{}.role: expected system, developer, user, assistant, tool or function, got \"{}\"",
              path, role);
}

Result<std::string> text_of_part(const Json& part, const std::string& path) {
  if (part.is_string()) return part.get<std::string>();
  if (!part.is_object()) return expected(path, "an object");
  const auto type = part.find("type");
  if (type == part.end() || !type->is_string()) return expected(path + ".type", "a string");
  const auto name = type->get<std::string>();
  if (name != "text" && name != "refusal") {
    return fail(Code::kInvalidArgument, "{}: this model takes text only, not \"{}\"", path, name);
  }
  const auto text = part.find(name);
  if (text == part.end() || !text->is_string()) return expected(path + "." + name, "a string");
  return text->get<std::string>();
}

Result<Json> normalise_content(const Json& content, const std::string& path) {
  if (content.is_string() || content.is_null()) return content;
  if (!content.is_array() && !content.is_object())
    return expected(path, "a string or an array of parts");
  if (content.is_object()) {
    COHORT_TRY(std::string only, text_of_part(content, path));
    return Json(std::move(only));
  }
  std::string text;
  for (size_t i = 0; i < content.size(); ++i) {
    COHORT_TRY(const std::string part, text_of_part(content[i], fmt::format("{}[{}]", path, i)));
    if (!text.empty() && !part.empty()) text += "\n";
    text += part;
  }
  return Json(std::move(text));
}

// Arguments travel as text in OpenAI's API and are an object to templates.
Result<void> normalise_tool_calls(Json& calls, const std::string& path) {
  if (calls.is_null()) return {};
  if (!calls.is_array()) return expected(path, "an array");
  for (size_t i = 0; i < calls.size(); ++i) {
    const std::string call_path = fmt::format("{}[{}]", path, i);
    if (!calls[i].is_object()) return expected(call_path, "an object");
    const auto function = calls[i].find("function");
    if (function == calls[i].end()) continue;
    if (!function->is_object()) return expected(call_path + ".function", "an object");
    const auto arguments = function->find("arguments");
    if (arguments == function->end() || !arguments->is_string()) continue;
    const auto parsed = parse_json(arguments->get_ref<const std::string&>());
    if (parsed && parsed->is_object()) *arguments = *parsed;
  }
  return {};
}

Result<Json> normalise_message(const Json& message, const std::string& path) {
  if (!message.is_object()) return expected(path, "an object");
  Json out = message;
  COHORT_TRY(const std::string role, normalise_role(message, path));
  out["role"] = role;
  COHORT_TRY(Json content, normalise_content(message.value("content", Json()), path + ".content"));
  const bool may_lack_content = role == "assistant";
  if (content.is_null() && !may_lack_content)
    return expected(path + ".content", "a string or an array of parts");
  out["content"] = content.is_null() ? Json("") : std::move(content);
  if (out.contains("tool_calls")) {
    COHORT_TRY_VOID(normalise_tool_calls(out["tool_calls"], path + ".tool_calls"));
    if (out["tool_calls"].is_null()) out.erase("tool_calls");
  }
  return out;
}

}  // namespace

Result<Json> normalise_messages(const Json& messages) {
  if (!messages.is_array() || messages.empty())
    return expected("messages", "an array of at least one message");
  Json out = Json::array();
  for (size_t i = 0; i < messages.size(); ++i) {
    COHORT_TRY(Json message, normalise_message(messages[i], fmt::format("messages[{}]", i)));
    out.push_back(std::move(message));
  }
  return out;
}

}  // namespace cohort::api
