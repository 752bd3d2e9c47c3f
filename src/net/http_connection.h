// One client of an HttpServer: reads a request, runs the handler while it watches the socket for the client's going,
// writes the answer, and again.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <boost/asio/ip/tcp.hpp>

#include "net/http.h"
#include "net/http_parser.h"
#include "net/http_server.h"
#include "net/task.h"

namespace cohort::net {

class HttpConnection final : public ResponseWriter {
 public:
  HttpConnection(HttpServer& server, asio::ip::tcp::socket socket);

  Task<void> run();
  Task<void> run_refusal();  // one connection too many: 503 and the end
  bool idle() const { return idle_; }
  TimePoint deadline() const { return deadline_; }
  void expire();  // the deadline has passed: ends the wait under way
  void abort();   // cuts the connection

  Task<Result<void>> send(HttpResponse response) override;
  Task<Result<void>> start_stream(int status, std::vector<Header> headers) override;
  Task<Result<void>> write(std::string bytes) override;
  Task<Result<void>> finish() override;
  bool started() const override { return state_ != Answer::kNone; }

 private:
  enum class Answer { kNone, kStreaming, kComplete };

  Task<std::optional<HttpRequest>> read_request();
  Task<bool> wait_for_bytes();
  Task<bool> read_more();
  Task<bool> reserve_body(size_t size_bytes);
  Task<void> refuse(int status, std::string message);
  Task<void> answer(HttpRequest request);
  Task<void> run_handler(HttpRequest request);
  Task<void> watch_client();
  Task<void> linger();
  Task<Result<void>> write_all(std::string bytes);
  std::string header_text(int status, const std::vector<Header>& headers) const;

  HttpServer& server_;
  asio::ip::tcp::socket socket_;
  std::string buffer_;           // read, not yet used
  TimePoint deadline_ = kNever;  // of the wait under way; HttpServer::sweep() looks at it
  bool idle_ = true;
  bool gone_ = false;  // the client, or our wish to hear from it
  size_t counted_body_bytes_ = 0;

  // Of the request being answered.
  Answer state_ = Answer::kNone;
  bool keep_alive_ = true;
  bool head_ = false;
  bool http_1_0_ = false;
  bool handler_done_ = false;
  bool client_left_ = false;  // it closed its side; a last answer may still reach it
  asio::cancellation_signal stop_watching_;
  TaskGroup handling_;
};

}  // namespace cohort::net
