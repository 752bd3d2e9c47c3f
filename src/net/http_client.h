// A blocking HTTP client for command lines and tests. It never runs on the loop thread.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "net/http.h"

namespace cohort::net {

struct HttpClientOptions {
  std::string base_url = "http://127.0.0.1:52415";
  std::string api_key;  // sent as Authorization: Bearer when not empty
  std::chrono::milliseconds connect_timeout{5'000};
  std::chrono::milliseconds timeout{30'000};  // of a whole exchange; 0: none, for streams
  const std::atomic<bool>* interrupted =
      nullptr;  // looked at while waiting; true ends the exchange with kCancelled
};

struct HttpCall {
  std::string method = "GET";
  std::string path;  // with query, percent-encoded
  std::string body;
  std::vector<Header> headers;  // Content-Type is application/json unless given
};

struct HttpReply {
  int status = 0;
  std::vector<Header> headers;
  std::string body;  // at most kMaxReplyBytes

  const std::string* header(std::string_view name) const { return find_header(headers, name); }
};

// Keeps its connection between calls. One thread at a time.
class HttpClient {
 public:
  static constexpr size_t kMaxReplyBytes = 256u << 20;

  explicit HttpClient(HttpClientOptions options);
  HttpClient(HttpClient&&) noexcept;
  HttpClient& operator=(HttpClient&&) noexcept;
  ~HttpClient();

  // Any status is a reply. kUnavailable: nobody answers there; kTimeout; kCancelled.
  Result<HttpReply> call(const HttpCall& call);

  // Hands over each line of a 2xx body (without its line end) as it arrives, until it returns false; the reply's body is
  // then empty. Another status's body is collected as call() does.
  Result<HttpReply> stream_lines(const HttpCall& call,
                                 const std::function<bool(std::string_view line)>& on_line);

  const HttpClientOptions& options() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cohort::net
