// HTTP messages as values, and what a handler answers with. No library's types.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "net/task.h"

namespace cohort::net {

struct Header {
  std::string name;
  std::string value;
};

// The first header of that name (any case), or nullptr.
const std::string* find_header(const std::vector<Header>& headers, std::string_view name);

struct HttpRequest {
  std::string method;
  std::string target;  // as sent: path and query, percent-encoded
  std::vector<Header> headers;
  std::string body;
  bool http_1_0 = false;
  bool keep_alive = true;

  const std::string* header(std::string_view name) const { return find_header(headers, name); }
  std::string_view encoded_path() const;
  // The decoded value of a query parameter; "" when it is absent.
  std::string query(std::string_view name) const;
};

struct HttpResponse {
  int status = 200;
  std::vector<Header> headers;  // Content-Length, Connection and Date are added
  std::string body;
};

// Percent-decoding; a broken escape stays as it is. '+' is a space only in queries.
std::string percent_decode(std::string_view text, bool plus_is_space = false);

std::string_view reason_phrase(int status);

// Answers one request: send() once, or start_stream(), write()..., finish(). Every call returns kCancelled when the client
// is gone; a handler then just returns. A handler that returns without an answer has the connection closed.
class ResponseWriter {
 public:
  virtual ~ResponseWriter() = default;
  virtual Task<Result<void>> send(HttpResponse response) = 0;
  // Chunked for HTTP/1.1. The headers leave at once.
  virtual Task<Result<void>> start_stream(int status, std::vector<Header> headers) = 0;
  // Returns when the bytes are with the operating system: that is the back-pressure.
  virtual Task<Result<void>> write(std::string bytes) = 0;
  virtual Task<Result<void>> finish() = 0;
  virtual bool started() const = 0;
};

// Runs as a task of its own connection; it is cancelled when the client goes away, also while it writes nothing.
using HttpHandler = std::function<Task<void>(HttpRequest, ResponseWriter&)>;

}  // namespace cohort::net
