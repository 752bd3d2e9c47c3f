// The one file with Beast in it.
#include "net/http_parser.h"

#include <optional>

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/rfc7230.hpp>
#include <boost/beast/http/string_body.hpp>

#include "base/bytes.h"
#include "base/check.h"

namespace cohort::net {
namespace {

namespace http = boost::beast::http;
using Parser = http::request_parser<http::string_body>;

HttpParseError describe(const boost::system::error_code& error,
                        const HttpRequestParser::Limits& limits) {
  if (error == http::error::header_limit || error == http::error::buffer_overflow) {
    return {431, fmt::format("the request's header is over the limit of {}",
                             format_bytes(limits.max_header_bytes))};
  }
  if (error == http::error::body_limit) {
    return {413, fmt::format("the request's body is over the limit of {}",
                             format_bytes(limits.max_body_bytes))};
  }
  return {400, fmt::format("malformed HTTP request: {}", error.message())};
}

}  // namespace

struct HttpRequestParser::State {
  Limits limits;
  Parser parser;
  bool started = false;
};

HttpRequestParser::HttpRequestParser(const Limits& limits) : state_(std::make_unique<State>()) {
  state_->limits = limits;
  state_->parser.eager(true);
  state_->parser.header_limit(static_cast<std::uint32_t>(limits.max_header_bytes));
  state_->parser.body_limit(limits.max_body_bytes);
}
HttpRequestParser::HttpRequestParser(HttpRequestParser&&) noexcept = default;
HttpRequestParser::~HttpRequestParser() = default;

tl::expected<size_t, HttpParseError> HttpRequestParser::feed(std::string_view bytes) {
  COHORT_CHECK(!done());
  if (bytes.empty()) return 0;
  state_->started = true;
  boost::system::error_code error;
  const size_t used = state_->parser.put(boost::asio::buffer(bytes.data(), bytes.size()), error);
  if (error && error != http::error::need_more) {
    return tl::unexpected(describe(error, state_->limits));
  }
  if (!has_header() && bytes.size() - used > state_->limits.max_header_bytes) {
    return tl::unexpected(describe(http::error::header_limit, state_->limits));
  }
  return used;
}

bool HttpRequestParser::started() const { return state_->started; }
bool HttpRequestParser::has_header() const { return state_->parser.is_header_done(); }
bool HttpRequestParser::done() const { return state_->parser.is_done(); }
size_t HttpRequestParser::body_bytes() const { return state_->parser.get().body().size(); }

bool HttpRequestParser::expects_continue() const {
  const auto value = state_->parser.get()[http::field::expect];
  return !done() && boost::beast::iequals(value, "100-continue");
}

HttpRequest HttpRequestParser::take() {
  COHORT_CHECK(done());
  auto message = state_->parser.release();
  HttpRequest request;
  request.method = std::string(message.method_string());
  request.target = std::string(message.target());
  for (const auto& field : message) {
    request.headers.push_back({std::string(field.name_string()), std::string(field.value())});
  }
  request.http_1_0 = message.version() < 11;
  request.keep_alive = message.keep_alive();
  request.body = std::move(message.body());
  return request;
}

}  // namespace cohort::net
