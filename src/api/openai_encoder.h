// Encoders of OpenAI's two completion dialects, streamed and collected.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "api/dialect.h"

namespace cohort::api {

struct ReplyHead {
  std::string id;
  int64_t created_unix_seconds = 0;
  std::string model;
  bool include_usage = false;  // of streams
  int32_t choices = 1;         // of all requests
  int32_t choices_per_request = 1;
  bool logprobs = false;
};

std::unique_ptr<Encoder> chat_stream(ReplyHead head);
std::unique_ptr<Encoder> chat_collected(ReplyHead head);
std::unique_ptr<Encoder> completion_stream(ReplyHead head);
std::unique_ptr<Encoder> completion_collected(ReplyHead head);

}  // namespace cohort::api
