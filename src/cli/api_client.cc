#include "cli/api_client.h"

#include <csignal>

namespace cohort::cli {
namespace {

constexpr std::chrono::milliseconds kCallTimeout{600'000};  // placing a model may take minutes

void on_interrupt(int) { interrupted() = true; }

Code code_of_status(int status) {
  switch (status) {
    case 400: return Code::kInvalidArgument;
    case 401: return Code::kUnauthorized;
    case 404: return Code::kNotFound;
    case 413: return Code::kTooLarge;
    case 422: return Code::kUnprocessable;
    case 429: return Code::kResourceExhausted;
    case 503: return Code::kUnavailable;
    case 504: return Code::kTimeout;
    default: return Code::kInternal;
  }
}

// The message inside an error body of OpenAI's shape, or the body itself when it has another.
std::string message_of(const std::string& body) {
  const Result<Json> parsed = parse_json(body);
  if (parsed && parsed->is_object() && parsed->contains("error")) {
    const Json& error = (*parsed)["error"];
    if (error.is_object() && error.contains("message") && error["message"].is_string()) {
      return error["message"].get<std::string>();
    }
  }
  return body.empty() ? "no reason given" : body.substr(0, 500);
}

tl::unexpected<Error> status_error(int status, const std::string& body) {
  return fail(code_of_status(status), "{}", message_of(body));
}

net::HttpClientOptions options_of(const Common& common) {
  return {.base_url = common.api,
          .api_key = common.api_key,
          .timeout = kCallTimeout,
          .interrupted = &interrupted()};
}

}  // namespace

std::atomic<bool>& interrupted() {
  static std::atomic<bool> flag{false};
  return flag;
}

void watch_interrupt() {
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  sigaction(SIGINT, &action, nullptr);
}

ApiClient::ApiClient(const Common& common) : client_(options_of(common)) {}
ApiClient::ApiClient(net::HttpClientOptions options) : client_(std::move(options)) {}

Result<Json> ApiClient::call(net::HttpCall call) {
  COHORT_TRY(const net::HttpReply reply, client_.call(call));
  if (reply.status < 200 || reply.status > 299) return status_error(reply.status, reply.body);
  if (reply.body.empty()) return Json(nullptr);
  return parse_json(reply.body);
}

Result<Json> ApiClient::get(const std::string& path) {
  return call({.method = "GET", .path = path});
}

Result<Json> ApiClient::post(const std::string& path, const Json& body) {
  return call({.method = "POST", .path = path, .body = dump_json(body)});
}

Result<Json> ApiClient::remove(const std::string& path) {
  return call({.method = "DELETE", .path = path});
}

Result<void> ApiClient::stream(const std::string& path, const Json& body,
                               const std::function<void(const Json& event)>& on_event) {
  std::optional<Error> failed;
  const auto on_line = [&](std::string_view line) {
    constexpr std::string_view kData = "data: ";
    if (line.substr(0, kData.size()) != kData)
      return true;  // a comment, or the blank line between events
    line.remove_prefix(kData.size());
    if (line == "[DONE]") return true;
    const Result<Json> event = parse_json(line);
    if (!event) {
      failed = event.error();
      return false;
    }
    if (event->contains("error")) {
      failed = Error{Code::kUnavailable, message_of(std::string(line))};
      return false;
    }
    on_event(*event);
    return true;
  };
  const net::HttpCall call{.method = "POST", .path = path, .body = dump_json(body)};
  COHORT_TRY(const net::HttpReply reply, client_.stream_lines(call, on_line));
  if (failed) return tl::unexpected<Error>(*failed);
  if (reply.status < 200 || reply.status > 299) return status_error(reply.status, reply.body);
  return {};
}

bool ApiClient::reachable() {
  const Result<net::HttpReply> reply = client_.call({.method = "GET", .path = "/healthz"});
  return reply && reply->status == 200;
}

std::string encode_path(std::string_view segment) {
  std::string encoded;
  for (const char c : segment) {
    const bool unreserved = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                            (c >= '0' && c <= '9') ||
                            std::string_view("-._~").find(c) != std::string_view::npos;
    encoded += unreserved ? std::string(1, c) : fmt::format("%{:02X}", static_cast<uint8_t>(c));
  }
  return encoded;
}

}  // namespace cohort::cli
