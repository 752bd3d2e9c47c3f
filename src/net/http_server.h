// An HTTP/1.1 server on the loop thread: keep-alive, pipelining, streams, limits, graceful end.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/ip/tcp.hpp>

#include "net/http.h"
#include "net/task.h"

namespace cohort::net {

struct HttpLimits {
  size_t max_body_bytes = 32u << 20;    // beyond: 413
  size_t max_header_bytes = 64u << 10;  // beyond: 431
  size_t max_connections = 1024;        // beyond: 503 and closed
  size_t max_buffered_body_bytes = 256u
                                   << 20;  // of all connections' unfinished requests; beyond: 503
  std::chrono::milliseconds header_timeout{
      10'000};  // from a request's first byte to its header's end
  std::chrono::milliseconds idle_timeout{75'000};   // between requests
  std::chrono::milliseconds body_timeout{30'000};   // without a byte of the body
  std::chrono::milliseconds write_timeout{60'000};  // without a byte taken by the client
};

class HttpConnection;

class HttpServer {
 public:
  // The handler outlives the server.
  HttpServer(Executor executor, HttpLimits limits, HttpHandler handler);
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;
  ~HttpServer();  // after close()

  // Every address `host` stands for; port 0 takes a free one. A taken port is kUnavailable and says by whom where the
  // system tells. Blocks for a name look-up: call it before the loop runs.
  Result<void> listen(const std::string& host, uint16_t port);
  uint16_t port() const { return port_; }
  bool loopback_only() const { return loopback_only_; }
  size_t connections() const { return connections_.size(); }

  // Takes no new connection and closes idle ones; running requests may finish until `deadline`, then they are cut.
  Task<void> close(TimePoint deadline);

 private:
  friend class HttpConnection;
  using Acceptor = asio::ip::tcp::acceptor;
  using Socket = asio::ip::tcp::socket;

  Result<void> bind(const asio::ip::tcp::endpoint& endpoint);
  Task<void> accept_loop(Acceptor& acceptor);
  void admit(Socket socket);
  Task<void> serve(Socket socket, Task<void> (HttpConnection::*run)());
  Task<void> refuse(Socket socket);
  Task<void> sweep();

  Executor executor_;
  HttpLimits limits_;
  HttpHandler handler_;
  uint16_t port_ = 0;
  bool loopback_only_ = true;
  bool draining_ = false;
  size_t buffered_body_bytes_ = 0;  // of requests that have not come to their end
  size_t refusals_ = 0;             // of serving_, those that only say 503
  std::list<Acceptor> acceptors_;
  std::list<HttpConnection*> connections_;  // each lives in the frame of serve()
  Notification connections_changed_;
  TaskGroup accepting_;  // accept_loop()s and sweep()
  TaskGroup serving_;
};

}  // namespace cohort::net
