// The one way from a body of any dialect to an answer, streamed or collected.
#pragma once

#include <chrono>

#include "api/dialect.h"
#include "net/http.h"
#include "net/task.h"
#include "node/node.h"

namespace cohort::api {

struct AnswerOptions {
  std::chrono::milliseconds keep_alive{
      10'000};  // a stream says something that often, also while a model loads
  std::chrono::milliseconds request_timeout{
      0};  // of a whole answer; 0: none (a runner that hangs is noticed anyway)
};

// An error before the first byte has its status; later it is the dialect's error event, and the stream ends properly. The
// client's going cancels everything.
net::Task<void> answer(node::Node& node, const Dialect& dialect, AnswerOptions options,
                       net::HttpRequest request, net::ResponseWriter& writer);

// A body as JSON; big ones are parsed off the loop thread.
net::Task<Result<Json>> parse_body(node::Node& node, std::string body);

}  // namespace cohort::api
