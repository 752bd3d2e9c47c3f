// OpenAI's chat and text completions.
#pragma once

#include <memory>
#include <string>

#include "api/dialect.h"
#include "base/json.h"
#include "base/result.h"
#include "net/http.h"

namespace cohort::api {

std::unique_ptr<Dialect> openai_chat();         // POST /v1/chat/completions
std::unique_ptr<Dialect> openai_completions();  // POST /v1/completions

// {"error": {message, type, param, code}}, which the routes outside the dialects use as well.
Json openai_error(const Error& error);
net::HttpResponse openai_error_response(const Error& error);

}  // namespace cohort::api
