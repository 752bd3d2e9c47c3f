#include "mesh/lookup.h"

#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <sstream>
#include <system_error>
#include <thread>
#include <utility>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>

namespace cohort::mesh {
namespace {

namespace asio = boost::asio;
using Pipe = asio::local::stream_protocol::socket;

constexpr size_t kMaxAnswerBytes = 16 << 10;
constexpr char kFailed = '!';  // then why; else an address a line

std::string to_answer(const Result<std::vector<std::string>>& found) {
  if (!found) return kFailed + found.error().message;
  std::string answer;
  for (const std::string& address : *found) answer += address + '\n';
  return answer.substr(0, kMaxAnswerBytes);
}

Result<std::vector<std::string>> from_answer(const std::string& answer) {
  if (answer.starts_with(kFailed)) return fail(Code::kUnavailable, "{}", answer.substr(1));
  std::vector<std::string> addresses;
  std::istringstream lines(answer);
  for (std::string line; std::getline(lines, line);) addresses.push_back(line);
  if (addresses.empty()) return fail(Code::kUnavailable, "its name has no address");
  return addresses;
}

}  // namespace

Result<std::vector<std::string>> resolve_by_system(const std::string& name) {
  addrinfo wanted{};
  wanted.ai_socktype = SOCK_STREAM;
  addrinfo* first = nullptr;
  if (const int error = ::getaddrinfo(name.c_str(), nullptr, &wanted, &first); error != 0)
    return fail(Code::kUnavailable, "its name is unknown: {}", ::gai_strerror(error));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> freed(first, ::freeaddrinfo);
  std::vector<std::string> addresses;
  for (const addrinfo* entry = first; entry != nullptr; entry = entry->ai_next) {
    asio::ip::tcp::endpoint endpoint;
    if (entry->ai_addrlen > endpoint.capacity()) continue;
    std::copy_n(reinterpret_cast<const char*>(entry->ai_addr), entry->ai_addrlen,
                reinterpret_cast<char*>(endpoint.data()));
    addresses.push_back(endpoint.address().to_string());
  }
  return addresses;
}

// What the thread has to itself.
struct Lookups::Side {
  net::Loop loop{1};
  Pipe pipe{loop};
};

Result<void> Lookups::start(std::unique_ptr<Side> side, std::string name) {
  auto work = [side = std::move(side), name = std::move(name), resolve = resolve_,
               running = running_] {
    boost::system::error_code ignored;  // nobody may be waiting any more
    asio::write(side->pipe, asio::buffer(to_answer(resolve(name))), ignored);
    --*running;
  };
  ++*running_;
  try {
    std::thread(std::move(work)).detach();
    return {};
  } catch (const std::system_error& error) {
    --*running_;
    return fail(Code::kUnavailable, "no look-up: {}", error.what());
  }
}

net::Task<Result<std::vector<std::string>>> Lookups::find(std::string name,
                                                          net::TimePoint deadline) {
  if (*running_ >= kMaxRunning)
    co_return fail(Code::kUnavailable, "{} look-ups of names hang already", kMaxRunning);
  const auto ours = std::make_shared<Pipe>(executor_);
  auto side = std::make_unique<Side>();
  boost::system::error_code failed;
  asio::local::connect_pair(*ours, side->pipe, failed);
  if (failed) co_return fail(Code::kUnavailable, "no look-up: {}", failed.message());
  COHORT_CO_TRY_VOID(start(std::move(side), std::move(name)));

  asio::steady_timer timer(executor_, deadline);
  timer.async_wait([ours](const boost::system::error_code& error) {
    boost::system::error_code ignored;
    if (!error) ours->close(ignored);
  });
  std::string answer;
  auto buffer = asio::dynamic_buffer(answer, kMaxAnswerBytes);
  const auto [error, size] = co_await asio::async_read(*ours, buffer, net::kAsTuple);
  if (error == asio::error::eof) co_return from_answer(answer);
  if (net::Clock::now() < deadline) co_return fail(Code::kCancelled, "cancelled");
  co_return fail(Code::kUnavailable, "its name was not looked up in time");
}

}  // namespace cohort::mesh
