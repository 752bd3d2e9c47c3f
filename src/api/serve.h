// One device's daemon: the node, and HTTP in front of it.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "net/http_server.h"
#include "node/model_catalog.h"
#include "node/node.h"

namespace cohort::api {

struct ServeOptions {
  std::string host = "127.0.0.1";
  uint16_t port = 52415;                  // 0: a free one
  std::vector<std::string> api_keys;      // none: open
  std::vector<std::string> cors_origins;  // none: no page of another site
  bool api = true;                        // false: no HTTP (--no-api)
  net::HttpLimits http;
  std::chrono::milliseconds keep_alive{10'000};
  std::chrono::milliseconds request_timeout{0};  // 0: none
  std::chrono::milliseconds drain_timeout{30'000};
  node::NodeOptions node;
  // Called once, on the loop thread, when the port is open.
  std::function<void(uint16_t port)> on_listening = [](uint16_t) {};
};

// One key a line; blank lines and lines that begin with '#' do not count.
Result<std::vector<std::string>> read_api_keys(const std::string& file);

class Daemon {
 public:
  // Opens the port. kUnavailable: it is taken, and by whom.
  static Result<std::unique_ptr<Daemon>> create(ServeOptions options, node::ModelCatalog catalog);
  ~Daemon();

  uint16_t port() const;
  node::Node& node();  // loop thread only

  // Serves on the calling thread until stop(), SIGINT or SIGTERM (when `signals`): those let running answers finish, up to
  // the drain time-out; a second one ends at once.
  void run(bool signals);
  void stop();  // any thread; may be called twice, for "at once"

 private:
  struct State;
  explicit Daemon(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// All of it, for a command line: returns 0 after an orderly end.
Result<int> serve(ServeOptions options, node::ModelCatalog catalog);

}  // namespace cohort::api
