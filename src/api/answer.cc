#include "api/answer.h"

#include <algorithm>
#include <utility>

namespace cohort::api {
namespace {

constexpr size_t kParseElsewhereBytes = 256u << 10;

using Generations = std::vector<std::unique_ptr<node::Generation>>;

// One answer on its way out.
class Answer {
 public:
  Answer(const Dialect& dialect, AnswerOptions options, Decoded decoded,
         net::ResponseWriter& writer)
      : dialect_(dialect),
        options_(options),
        decoded_(std::move(decoded)),
        writer_(writer),
        deadline_(options.request_timeout.count() > 0 ? net::Clock::now() + options.request_timeout
                                                      : net::kNever) {}

  net::Task<void> run(Generations generations) {
    int32_t first_choice = 0;
    for (auto& generation : generations) {
      if (!co_await drain(*generation, first_choice)) co_return;
      first_choice += static_cast<int32_t>(generation->choices().size());
    }
    std::string last = decoded_.encoder->end();
    if (!decoded_.stream) {
      net::HttpResponse response;
      response.headers = std::move(decoded_.headers);
      response.body = std::move(last);
      co_await writer_.send(std::move(response));
      co_return;
    }
    const bool written = co_await write(std::move(last));
    if (written) co_await writer_.finish();
  }

 private:
  // All of one generation. False: that was the end of the answer.
  net::Task<bool> drain(node::Generation& generation, int32_t first_choice) {
    while (!generation.finished()) {
      auto deltas = co_await generation.next(next_wake());
      if (deltas) {
        std::string bytes;
        for (runner::GenerateDelta& delta : *deltas) {
          delta.choice += first_choice;
          bytes += decoded_.encoder->encode(delta);
        }
        if (!co_await write(std::move(bytes))) co_return false;
      } else if (deltas.error().code == Code::kTimeout && net::Clock::now() < deadline_) {
        std::string comment = decoded_.encoder->keep_alive();
        if (!co_await write(std::move(comment))) co_return false;
      } else {
        Error error = std::move(deltas.error());
        co_await fail(std::move(error));
        co_return false;
      }
    }
    co_return true;
  }

  net::TimePoint next_wake() const {
    return decoded_.stream ? std::min(deadline_, net::Clock::now() + options_.keep_alive)
                           : deadline_;
  }

  // Starts the stream with its first bytes. False: the client is gone.
  net::Task<bool> write(std::string bytes) {
    if (!decoded_.stream || bytes.empty()) co_return true;
    if (!writer_.started()) {
      const auto begun = co_await writer_.start_stream(200, std::move(decoded_.headers));
      if (!begun) co_return false;
      bytes = decoded_.encoder->begin() + bytes;
    }
    const auto written = co_await writer_.write(std::move(bytes));
    co_return written.has_value();
  }

  net::Task<void> fail(Error error) {
    if (error.code == Code::kCancelled) co_return;
    if (error.code == Code::kTimeout) {
      error.message = fmt::format("the answer took longer than {} s",
                                  options_.request_timeout.count() / 1000.0);
    }
    if (!writer_.started()) {
      net::HttpResponse response = dialect_.error_response(error);
      co_await writer_.send(std::move(response));
      co_return;
    }
    std::string last = decoded_.encoder->error(error);
    const bool written = co_await write(std::move(last));
    if (written) co_await writer_.finish();
  }

  const Dialect& dialect_;
  AnswerOptions options_;
  Decoded decoded_;
  net::ResponseWriter& writer_;
  net::TimePoint deadline_;
};

}  // namespace

net::Task<Result<Json>> parse_body(node::Node& node, std::string body) {
  if (body.size() < kParseElsewhereBytes) co_return parse_json(body);
  auto parse = [text = std::move(body)] { return parse_json(text); };
  Result<Json> parsed = co_await node.blocking_pool().run(std::move(parse));
  co_return parsed;
}

net::Task<void> answer(node::Node& node, const Dialect& dialect, AnswerOptions options,
                       net::HttpRequest request, net::ResponseWriter& writer) {
  auto body = co_await parse_body(node, std::move(request.body));
  auto decoded = body ? dialect.decode(*body) : Result<Decoded>(tl::unexpected(body.error()));
  if (!decoded) {
    net::HttpResponse refusal = dialect.error_response(decoded.error());
    co_await writer.send(std::move(refusal));
    co_return;
  }
  body = Json();
  Generations generations;
  for (auto& wanted : decoded->requests)
    generations.push_back(node.generate(decoded->model, std::move(wanted)));
  Answer running(dialect, options, std::move(*decoded), writer);
  co_await running.run(std::move(generations));
}

}  // namespace cohort::api
