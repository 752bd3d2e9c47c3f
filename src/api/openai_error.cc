#include <algorithm>
#include <cctype>

#include "api/openai.h"

namespace cohort::api {
namespace {

constexpr const char* kRetryAfterSeconds = "2";  // of a full queue

std::string_view type_of(Code code) {
  switch (code) {
    case Code::kUnauthorized: return "authentication_error";
    case Code::kResourceExhausted: return "rate_limit_error";
    case Code::kInvalidArgument:
    case Code::kNotFound:
    case Code::kTooLarge:
    case Code::kUnprocessable: return "invalid_request_error";
    default: return "server_error";
  }
}

// The field's path in front of a schema error's message: "messages[2].content: expected..." -> "messages[2].content".
std::string param_of(const Error& error) {
  if (error.code != Code::kUnprocessable && error.code != Code::kInvalidArgument) return "";
  const size_t colon = error.message.find(": ");
  if (colon == std::string::npos) return "";
  const std::string path = error.message.substr(0, colon);
  const bool is_path = std::all_of(path.begin(), path.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '_' || c == '.' || c == '[' || c == ']';
  });
  return is_path ? path : "";
}

}  // namespace

Json openai_error(const Error& error) {
  const std::string param = param_of(error);
  Json inner{{"message", error.message}, {"type", type_of(error.code)}};
  inner["param"] = param.empty() ? Json(nullptr) : Json(param);
  inner["code"] = code_name(error.code);
  return Json{{"error", std::move(inner)}};
}

net::HttpResponse openai_error_response(const Error& error) {
  net::HttpResponse response;
  response.status = http_status(error.code);
  response.headers.push_back({"Content-Type", "application/json"});
  if (error.code == Code::kResourceExhausted)
    response.headers.push_back({"Retry-After", kRetryAfterSeconds});
  if (error.code == Code::kUnauthorized) response.headers.push_back({"WWW-Authenticate", "Bearer"});
  response.body = dump_json(openai_error(error));
  return response;
}

}  // namespace cohort::api
