#include "net/http_connection.h"

#include <algorithm>
#include <ctime>
#include <utility>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/buffer.hpp>

#include "base/check.h"

namespace cohort::net {
namespace {

constexpr size_t kReadBytes = 16u << 10;
constexpr size_t kWriteBytes = 64u << 10;
constexpr size_t kMaxReadAheadBytes = 64u << 10;  // of pipelined requests while one is answered
constexpr size_t kMaxDiscardedBytes = 64u << 20;  // of a body we refused
constexpr std::chrono::seconds kLingerTimeout{2};

tl::unexpected<Error> client_gone() { return fail(Code::kCancelled, "the client is gone"); }

std::string http_date() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  char text[40];
  const size_t size = std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &utc);
  return std::string(text, size);
}

}  // namespace

HttpConnection::HttpConnection(HttpServer& server, asio::ip::tcp::socket socket)
    : server_(server), socket_(std::move(socket)), handling_(server.executor_) {}

void HttpConnection::expire() {
  deadline_ = kNever;
  gone_ = true;
  handling_.cancel();
  boost::system::error_code ignored;
  socket_.cancel(ignored);
}

void HttpConnection::abort() {
  gone_ = true;
  handling_.cancel();
  boost::system::error_code ignored;
  socket_.close(ignored);
}

Task<void> HttpConnection::run() {
  while (!server_.draining_) {
    auto request = co_await read_request();
    if (!request) break;
    idle_ = false;
    co_await answer(std::move(*request));
    server_.buffered_body_bytes_ -= std::exchange(counted_body_bytes_, 0);
    if (gone_ || !keep_alive_) break;
  }
  server_.buffered_body_bytes_ -= std::exchange(counted_body_bytes_, 0);
  co_await linger();
}

Task<void> HttpConnection::run_refusal() {
  idle_ = false;
  co_await refuse(503,
                  fmt::format("all {} connections are in use", server_.limits_.max_connections));
  co_await linger();
}

Task<std::optional<HttpRequest>> HttpConnection::read_request() {
  HttpRequestParser parser({.max_header_bytes = server_.limits_.max_header_bytes,
                            .max_body_bytes = server_.limits_.max_body_bytes});
  bool continued = false;
  idle_ = buffer_.empty();
  deadline_ = Clock::now() + server_.limits_.idle_timeout;
  if (idle_ && !co_await wait_for_bytes()) co_return std::nullopt;
  idle_ = false;
  deadline_ = Clock::now() + server_.limits_.header_timeout;
  if (buffer_.empty() && !co_await read_more()) co_return std::nullopt;
  for (;;) {
    const auto used = parser.feed(buffer_);
    if (!used) {
      co_await refuse(used.error().status, used.error().message);
      co_return std::nullopt;
    }
    buffer_.erase(0, *used);
    if (!co_await reserve_body(parser.body_bytes())) co_return std::nullopt;
    if (parser.done()) break;
    if (parser.has_header() && parser.expects_continue() && !std::exchange(continued, true)) {
      if (!co_await write_all("HTTP/1.1 100 Continue\r\n\r\n")) co_return std::nullopt;
    }
    if (parser.has_header()) deadline_ = Clock::now() + server_.limits_.body_timeout;
    if (!co_await read_more()) co_return std::nullopt;
  }
  deadline_ = kNever;
  co_return parser.take();
}

// Holds no buffer while a client has nothing to say.
Task<bool> HttpConnection::wait_for_bytes() {
  buffer_.shrink_to_fit();
  const auto [error] = co_await socket_.async_wait(asio::socket_base::wait_read, kAsTuple);
  if (error) gone_ = true;
  co_return !error;
}

Task<bool> HttpConnection::read_more() {
  const size_t before = buffer_.size();
  buffer_.resize(before + kReadBytes);
  const auto [error, size] =
      co_await socket_.async_read_some(asio::buffer(buffer_.data() + before, kReadBytes), kAsTuple);
  buffer_.resize(before + size);
  if (error) gone_ = true;
  co_return !error;
}

Task<bool> HttpConnection::reserve_body(size_t size_bytes) {
  server_.buffered_body_bytes_ += size_bytes - counted_body_bytes_;
  counted_body_bytes_ = size_bytes;
  if (server_.buffered_body_bytes_ <= server_.limits_.max_buffered_body_bytes) co_return true;
  co_await refuse(503, "too many bytes of requests are held already; try again later");
  co_return false;
}

// An answer to what is no request of the handler's, in JSON that every dialect's client can show.
Task<void> HttpConnection::refuse(int status, std::string message) {
  for (char& c : message) {
    if (c == '"' || c == '\\' || static_cast<unsigned char>(c) < 0x20) c = '\'';
  }
  keep_alive_ = false;
  state_ = Answer::kNone;
  HttpResponse response{.status = status, .headers = {{"Content-Type", "application/json"}}};
  response.body = fmt::format(
      R"({{"error":{{"message":"{}","type":"invalid_request_error","param":null,"code":{}}}}})",
      message, status);
  if (status == 503) response.headers.push_back({"Retry-After", "1"});
  co_await send(std::move(response));
}

Task<void> HttpConnection::answer(HttpRequest request) {
  state_ = Answer::kNone;
  handler_done_ = false;
  client_left_ = false;
  keep_alive_ = request.keep_alive && !server_.draining_;
  head_ = request.method == "HEAD";
  http_1_0_ = request.http_1_0;
  handling_.spawn(run_handler(std::move(request)));
  co_await watch_client();
  co_await handling_.join();
  deadline_ = kNever;
  const bool was_cancelled = gone_ || client_left_;
  if (state_ == Answer::kNone && !was_cancelled)
    co_await refuse(500, "the request ended without an answer");
  if (state_ != Answer::kComplete) keep_alive_ = false;
}

Task<void> HttpConnection::run_handler(HttpRequest request) {
  // Also when a library below the handler throws: nobody else would end watch_client().
  struct Done {
    HttpConnection& connection;
    ~Done() {
      connection.handler_done_ = true;
      connection.stop_watching_.emit(asio::cancellation_type::terminal);
    }
  };
  const Done done{*this};
  co_await server_.handler_(std::move(request), *this);
}

// Reads ahead while the handler works: the only way to learn that a client has gone which waits for its answer.
Task<void> HttpConnection::watch_client() {
  while (!handler_done_ && !gone_ && buffer_.size() < kMaxReadAheadBytes) {
    const auto [error] =
        co_await socket_.async_wait(asio::socket_base::wait_read,
                                    asio::bind_cancellation_slot(stop_watching_.slot(), kAsTuple));
    if (error || handler_done_) break;
    const size_t before = buffer_.size();
    buffer_.resize(before + kReadBytes);
    boost::system::error_code read_error;
    const size_t size =
        socket_.read_some(asio::buffer(buffer_.data() + before, kReadBytes), read_error);
    buffer_.resize(before + size);
    if (read_error && read_error != asio::error::would_block) {
      client_left_ = true;
      keep_alive_ = false;
      handling_.cancel();
      break;
    }
  }
}

// Closing with unread bytes would reset the connection and could take our last answer from the client.
Task<void> HttpConnection::linger() {
  boost::system::error_code ignored;
  socket_.shutdown(asio::socket_base::shutdown_send, ignored);
  if (gone_ || server_.draining_) co_return;
  deadline_ = Clock::now() + kLingerTimeout;
  size_t discarded = 0;
  do {
    discarded += buffer_.size();
    buffer_.clear();
  } while (discarded < kMaxDiscardedBytes && co_await read_more());
}

std::string HttpConnection::header_text(int status, const std::vector<Header>& headers) const {
  std::string text = fmt::format("HTTP/1.1 {} {}\r\n", status, reason_phrase(status));
  for (const Header& header : headers) text += header.name + ": " + header.value + "\r\n";
  text += "Date: " + http_date() + "\r\n";
  if (!keep_alive_) text += "Connection: close\r\n";
  if (keep_alive_ && http_1_0_) text += "Connection: keep-alive\r\n";
  return text;
}

Task<Result<void>> HttpConnection::send(HttpResponse response) {
  COHORT_CHECK(state_ == Answer::kNone);
  state_ = Answer::kComplete;
  if (server_.draining_) keep_alive_ = false;
  std::string bytes = header_text(response.status, response.headers);
  if (response.status != 204) bytes += fmt::format("Content-Length: {}\r\n", response.body.size());
  bytes += "\r\n";
  if (!head_) bytes += response.body;
  co_return co_await write_all(std::move(bytes));
}

Task<Result<void>> HttpConnection::start_stream(int status, std::vector<Header> headers) {
  COHORT_CHECK(state_ == Answer::kNone);
  state_ = Answer::kStreaming;
  if (server_.draining_ || http_1_0_) keep_alive_ = false;
  std::string bytes = header_text(status, headers);
  if (!http_1_0_) bytes += "Transfer-Encoding: chunked\r\n";
  bytes += "\r\n";
  co_return co_await write_all(std::move(bytes));
}

Task<Result<void>> HttpConnection::write(std::string bytes) {
  COHORT_CHECK(state_ == Answer::kStreaming);
  if (bytes.empty() || head_) co_return Result<void>{};
  if (http_1_0_) co_return co_await write_all(std::move(bytes));
  co_return co_await write_all(fmt::format("{:x}\r\n", bytes.size()) + bytes + "\r\n");
}

Task<Result<void>> HttpConnection::finish() {
  COHORT_CHECK(state_ == Answer::kStreaming);
  state_ = Answer::kComplete;
  if (http_1_0_ || head_) co_return Result<void>{};
  co_return co_await write_all("0\r\n\r\n");
}

Task<Result<void>> HttpConnection::write_all(std::string bytes) {
  for (size_t written = 0; written < bytes.size();) {
    if (gone_) co_return client_gone();
    const size_t size = std::min(kWriteBytes, bytes.size() - written);
    deadline_ = Clock::now() + server_.limits_.write_timeout;
    const auto [error, taken] =
        co_await socket_.async_write_some(asio::buffer(bytes.data() + written, size), kAsTuple);
    deadline_ = kNever;
    if (error) {
      gone_ = true;
      co_return client_gone();
    }
    written += taken;
  }
  co_return Result<void>{};
}

}  // namespace cohort::net
