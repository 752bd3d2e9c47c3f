#include "net/http_server.h"

#include <algorithm>
#include <utility>

#include <boost/asio/ip/v6_only.hpp>

#include "base/check.h"
#include "base/log.h"
#include "net/http_connection.h"
#include "net/port_owner.h"

namespace cohort::net {
namespace {

using asio::ip::tcp;

constexpr size_t kMaxRefusals =
    64;  // 503s being written at once; beyond, a connection is closed without a word
constexpr int kBacklog = 1024;
constexpr std::chrono::milliseconds kAcceptPause{
    100};  // when the system is out of file descriptors
constexpr std::chrono::milliseconds kMaxSweepInterval{500};

std::chrono::milliseconds sweep_interval(const HttpLimits& limits) {
  const auto shortest = std::min(
      {limits.header_timeout, limits.idle_timeout, limits.body_timeout, limits.write_timeout});
  return std::clamp(shortest / 4, std::chrono::milliseconds(1), kMaxSweepInterval);
}

Error taken(const tcp::endpoint& endpoint) {
  const std::string owner = port_owner(endpoint.port());
  return {Code::kUnavailable,
          fmt::format("port {} on {} is taken{}; choose another with --port", endpoint.port(),
                      endpoint.address().to_string(), owner.empty() ? "" : " by " + owner)};
}

}  // namespace

HttpServer::HttpServer(Executor executor, HttpLimits limits, HttpHandler handler)
    : executor_(executor),
      limits_(limits),
      handler_(std::move(handler)),
      connections_changed_(executor),
      accepting_(executor),
      serving_(executor) {}

HttpServer::~HttpServer() { COHORT_CHECK(connections_.empty()); }

Result<void> HttpServer::listen(const std::string& host, uint16_t port) {
  tcp::resolver resolver(executor_);
  boost::system::error_code error;
  const auto addresses =
      resolver.resolve(host, std::to_string(port), tcp::resolver::passive, error);
  if (error)
    return fail(Code::kInvalidArgument, "cannot resolve host '{}': {}", host, error.message());
  port_ = port;
  Result<void> last = fail(Code::kInvalidArgument, "host '{}' has no address", host);
  for (const auto& entry : addresses) {
    const auto bound = bind({entry.endpoint().address(), port_});
    // A name may stand for an address this machine lacks (::1 with IPv6 off); one that works is enough.
    if (!bound && bound.error().code == Code::kUnavailable) return bound;
    if (!bound && acceptors_.empty()) last = bound;
  }
  if (acceptors_.empty()) return last;
  for (Acceptor& acceptor : acceptors_) accepting_.spawn(accept_loop(acceptor));
  accepting_.spawn(sweep());
  return {};
}

Result<void> HttpServer::bind(const tcp::endpoint& endpoint) {
  boost::system::error_code error;
  Acceptor acceptor(executor_);
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(asio::socket_base::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(kBacklog, error);
  if (error == asio::error::address_in_use) return tl::unexpected(taken(endpoint));
  if (error) {
    return fail(error == asio::error::access_denied ? Code::kUnavailable : Code::kInvalidArgument,
                "cannot listen on {} port {}: {}", endpoint.address().to_string(), endpoint.port(),
                error.message());
  }
  port_ = acceptor.local_endpoint(error).port();
  loopback_only_ = loopback_only_ && endpoint.address().is_loopback();
  acceptors_.push_back(std::move(acceptor));
  return {};
}

Task<void> HttpServer::accept_loop(Acceptor& acceptor) {
  while (!draining_) {
    auto [error, socket] = co_await acceptor.async_accept(kAsTuple);
    if (!error) {
      admit(std::move(socket));
    } else if (error == asio::error::operation_aborted || !acceptor.is_open()) {
      co_return;
    } else {
      log::warn("cannot accept a connection: {}", error.message());
      if (co_await sleep_until(Clock::now() + kAcceptPause) == Wake::kCancelled) co_return;
    }
  }
}

void HttpServer::admit(Socket socket) {
  boost::system::error_code error;
  socket.set_option(tcp::no_delay(true), error);
  if (!error) socket.non_blocking(true, error);
  if (error || draining_) return;
  if (serving_.size() - refusals_ < limits_.max_connections) {
    serving_.spawn(serve(std::move(socket), &HttpConnection::run));
  } else if (refusals_ < kMaxRefusals) {
    ++refusals_;
    serving_.spawn(refuse(std::move(socket)));
  }
}

Task<void> HttpServer::serve(Socket socket, Task<void> (HttpConnection::*run)()) {
  HttpConnection connection(*this, std::move(socket));
  struct Registration {
    HttpServer& server;
    std::list<HttpConnection*>::iterator place;
    ~Registration() {
      server.connections_.erase(place);
      server.connections_changed_.notify_all();
    }
  };
  const Registration registered{*this, connections_.insert(connections_.end(), &connection)};
  connections_changed_.notify_all();
  co_await (connection.*run)();
}

Task<void> HttpServer::refuse(Socket socket) {
  co_await serve(std::move(socket), &HttpConnection::run_refusal);
  --refusals_;
}

// One timer for all connections' deadlines; none while there is no connection.
Task<void> HttpServer::sweep() {
  const auto interval = sweep_interval(limits_);
  for (;;) {
    Wake wake;
    if (connections_.empty()) {
      wake = co_await connections_changed_.wait();
    } else {
      wake = co_await sleep_until(Clock::now() + interval);
    }
    if (wake == Wake::kCancelled) co_return;
    const TimePoint now = Clock::now();
    for (HttpConnection* connection : connections_) {
      if (connection->deadline() <= now) connection->expire();
    }
  }
}

Task<void> HttpServer::close(TimePoint deadline) {
  draining_ = true;
  boost::system::error_code ignored;
  for (Acceptor& acceptor : acceptors_) acceptor.close(ignored);
  for (HttpConnection* connection : connections_) {
    if (connection->idle()) connection->abort();
  }
  while (!connections_.empty()) {
    if (co_await connections_changed_.wait(deadline) != Wake::kNotified) break;
  }
  for (HttpConnection* connection : connections_) connection->abort();
  co_await serving_.join();
  co_await accepting_.close();
}

}  // namespace cohort::net
