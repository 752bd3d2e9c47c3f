#include "api/router.h"

#include <utility>

#include "api/openai.h"

namespace cohort::api {
namespace {

// Adds a browser's headers to every answer.
class WithHeaders final : public net::ResponseWriter {
 public:
  WithHeaders(net::ResponseWriter& writer, std::vector<net::Header> headers)
      : writer_(writer), extra_(std::move(headers)) {}

  net::Task<Result<void>> send(net::HttpResponse response) override {
    response.headers.insert(response.headers.end(), extra_.begin(), extra_.end());
    return writer_.send(std::move(response));
  }
  net::Task<Result<void>> start_stream(int status, std::vector<net::Header> headers) override {
    headers.insert(headers.end(), extra_.begin(), extra_.end());
    return writer_.start_stream(status, std::move(headers));
  }
  net::Task<Result<void>> write(std::string bytes) override {
    return writer_.write(std::move(bytes));
  }
  net::Task<Result<void>> finish() override { return writer_.finish(); }
  bool started() const override { return writer_.started(); }

 private:
  net::ResponseWriter& writer_;
  std::vector<net::Header> extra_;
};

bool matches(std::string_view pattern, std::string_view path) {
  if (!pattern.ends_with("/*")) return path == pattern;
  pattern.remove_suffix(1);
  return path.size() > pattern.size() && path.starts_with(pattern);
}

net::HttpResponse nothing_here(const net::HttpRequest& request, const std::string& allowed) {
  const std::string path(request.encoded_path());
  if (allowed.empty())
    return openai_error_response({Code::kNotFound, "there is nothing at " + path});
  net::HttpResponse response = openai_error_response(
      {Code::kInvalidArgument, request.method + " is not for " + path + "; it takes " + allowed});
  response.status = 405;
  response.headers.push_back({"Allow", allowed});
  return response;
}

}  // namespace

void Router::add(std::string method, std::string pattern, Handler handler) {
  routes_.push_back({std::move(method), std::move(pattern), std::move(handler)});
}

const Router::Route* Router::find(const net::HttpRequest& request, std::string& allowed) const {
  const std::string_view method =
      request.method == "HEAD" ? "GET" : std::string_view(request.method);
  for (const Route& route : routes_) {
    if (!matches(route.pattern, request.encoded_path())) continue;
    if (route.method == method) return &route;
    allowed += (allowed.empty() ? "" : ", ") + route.method;
  }
  return nullptr;
}

net::Task<void> Router::handle(net::HttpRequest request, net::ResponseWriter& plain_writer) const {
  WithHeaders writer(plain_writer, guard_.cors_headers(request));
  if (auto refusal = guard_.check(request)) {
    co_await writer.send(std::move(*refusal));
    co_return;
  }
  std::string allowed;
  const Route* route = find(request, allowed);
  if (route != nullptr) {
    const size_t star =
        route->pattern.ends_with("/*") ? route->pattern.size() - 1 : std::string::npos;
    std::string rest =
        star == std::string::npos ? "" : net::percent_decode(request.encoded_path().substr(star));
    co_await route->handler(std::move(request), std::move(rest), writer);
  } else if (request.method == "OPTIONS" && !allowed.empty()) {
    net::HttpResponse response;
    response.status = 204;
    response.headers.push_back({"Allow", allowed});
    co_await writer.send(std::move(response));
  } else {
    net::HttpResponse response = nothing_here(request, allowed);
    co_await writer.send(std::move(response));
  }
}

}  // namespace cohort::api
