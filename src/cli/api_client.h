// The device's HTTP API as the commands use it: JSON in and out, errors as Results.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"
#include "cli/commands.h"
#include "net/http_client.h"

namespace cohort::cli {

// Set by SIGINT once watch_interrupt() was called; long calls look at it.
std::atomic<bool>& interrupted();
void watch_interrupt();

class ApiClient {
 public:
  explicit ApiClient(const Common& common);
  explicit ApiClient(net::HttpClientOptions options);

  // 2xx replies parsed; others are errors with the reply's own message and a code that fits its status.
  Result<Json> get(const std::string& path);
  Result<Json> post(const std::string& path, const Json& body);
  Result<Json> remove(const std::string& path);

  // A streamed chat completion: each parsed `data:` event; an error event ends the stream with its message.
  Result<void> stream(const std::string& path, const Json& body,
                      const std::function<void(const Json& event)>& on_event);

  bool reachable();  // /healthz answers

 private:
  Result<Json> call(net::HttpCall call);

  net::HttpClient client_;
};

// Percent-encodes everything but unreserved characters.
std::string encode_path(std::string_view segment);

}  // namespace cohort::cli
