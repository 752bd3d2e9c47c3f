#include "api/guard.h"

#include <algorithm>
#include <cctype>

#include "api/openai.h"

namespace cohort::api {
namespace {

constexpr std::string_view kBearer = "bearer ";

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return out;
}

// "localhost:52415" -> "localhost", "[::1]:1" -> "[::1]".
std::string_view without_port(std::string_view host) {
  const size_t colon = host.rfind(':');
  if (colon == std::string_view::npos || host.ends_with(']')) return host;
  return host.substr(0, colon);
}

bool names_loopback(std::string_view host) {
  const std::string name = lower(without_port(host));
  return name == "localhost" || name == "[::1]" || name.ends_with(".localhost") ||
         (name.starts_with("127.") && name.find_first_not_of("0123456789.") == std::string::npos);
}

bool is_probe(std::string_view path) { return path == "/healthz" || path == "/readyz"; }

net::HttpResponse refusal(int status, std::string message, Code code) {
  net::HttpResponse response = openai_error_response({code, std::move(message)});
  response.status = status;
  return response;
}

}  // namespace

bool equal_in_constant_time(std::string_view a, std::string_view b) {
  unsigned difference = a.size() == b.size() ? 0 : 1;
  for (size_t i = 0; i < a.size(); ++i) {
    const char other = b.empty() ? '\0' : b[i % b.size()];
    difference |= static_cast<unsigned char>(a[i] ^ other);
  }
  return difference == 0;
}

bool Guard::has_key(const net::HttpRequest& request) const {
  std::string given;
  const std::string* authorization = request.header("Authorization");
  if (authorization && lower(*authorization).starts_with(kBearer))
    given = authorization->substr(kBearer.size());
  if (const std::string* key = request.header("x-api-key"); given.empty() && key) given = *key;
  bool matches = false;
  for (const std::string& key : options_.api_keys) matches |= equal_in_constant_time(given, key);
  return matches;
}

bool Guard::allows_origin(std::string_view origin, const net::HttpRequest& request) const {
  for (const std::string& allowed : options_.cors_origins) {
    if (allowed == "*" || allowed == origin) return true;
  }
  const size_t scheme_end = origin.find("://");
  if (scheme_end == std::string_view::npos) return false;
  const std::string_view host = origin.substr(scheme_end + 3);
  const std::string* own = request.header("Host");
  return own != nullptr && host == *own;
}

std::optional<net::HttpResponse> Guard::check(const net::HttpRequest& request) const {
  const std::string* host = request.header("Host");
  if (options_.loopback_only && host && !names_loopback(*host)) {
    return refusal(403,
                   "this device listens on loopback only, and '" + *host + "' is not a name of it",
                   Code::kUnauthorized);
  }
  const std::string* origin = request.header("Origin");
  if (origin && !allows_origin(*origin, request)) {
    return refusal(403,
                   "pages of " + *origin + " may not use this device; --cors-origin allows them",
                   Code::kUnauthorized);
  }
  const bool is_preflight = request.method == "OPTIONS" && origin;
  if (options_.api_keys.empty() || is_preflight || is_probe(request.encoded_path()) ||
      has_key(request))
    return {};
  return refusal(401, "a valid API key is needed: send it as Authorization: Bearer KEY",
                 Code::kUnauthorized);
}

std::vector<net::Header> Guard::cors_headers(const net::HttpRequest& request) const {
  const std::string* origin = request.header("Origin");
  if (!origin || options_.cors_origins.empty() || !allows_origin(*origin, request)) return {};
  return {{"Access-Control-Allow-Origin", *origin},
          {"Vary", "Origin"},
          {"Access-Control-Allow-Methods", "GET, POST, PUT, DELETE, OPTIONS"},
          {"Access-Control-Allow-Headers", "*, Authorization, Content-Type, x-api-key"},
          {"Access-Control-Max-Age", "600"}};
}

}  // namespace cohort::api
