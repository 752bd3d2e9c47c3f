// HTTP/1 requests out of bytes, without I/O: feed it what arrived, take the request when it is complete.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "net/http.h"

namespace cohort::net {

struct HttpParseError {
  int status = 400;  // what to answer: 400, 413, 431, 505
  std::string message;
};

class HttpRequestParser {
 public:
  struct Limits {
    size_t max_header_bytes = 64u << 10;
    size_t max_body_bytes = 32u << 20;
  };
  explicit HttpRequestParser(const Limits& limits);
  HttpRequestParser(HttpRequestParser&&) noexcept;
  ~HttpRequestParser();

  // How many of the bytes were used up; give the others again, with more behind them. A complete request uses up only
  // its own. Call it again only while done() is false.
  tl::expected<size_t, HttpParseError> feed(std::string_view bytes);
  bool started() const;  // some bytes of a request came
  bool has_header() const;
  bool expects_continue() const;  // with has_header(): the client waits for "100 Continue"
  size_t body_bytes() const;      // so far
  bool done() const;
  HttpRequest take();  // with done()

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cohort::net
