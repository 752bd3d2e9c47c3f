#include "api/event_stream.h"

#include <utility>

namespace cohort::api {

net::Task<bool> EventStream::start() {
  std::vector<net::Header> headers{{"Content-Type", "text/event-stream; charset=utf-8"},
                                   {"Cache-Control", "no-cache"},
                                   {"X-Accel-Buffering", "no"}};
  const auto begun = co_await writer_.start_stream(200, std::move(headers));
  if (!begun) co_return false;
  co_return co_await keep_alive();
}

net::Task<bool> EventStream::send(Json data, uint64_t number) {
  std::string bytes = number > 0 ? fmt::format("id: {}\n", number) : "";
  bytes += fmt::format("data: {}\n\n", dump_json(data));
  co_return co_await write(std::move(bytes));
}

net::Task<bool> EventStream::keep_alive() {
  std::string comment = ": keep-alive\n\n";
  co_return co_await write(std::move(comment));
}

net::Task<void> EventStream::finish() { co_await writer_.finish(); }

net::Task<bool> EventStream::write(std::string bytes) {
  const auto written = co_await writer_.write(std::move(bytes));
  co_return written.has_value();
}

bool accepts_events(const net::HttpRequest& request) {
  const std::string* accept = request.header("Accept");
  return accept != nullptr && accept->find("text/event-stream") != std::string::npos;
}

}  // namespace cohort::api
