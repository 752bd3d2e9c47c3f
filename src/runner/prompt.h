// From a request as the daemon sends it to one the engine takes: template, tokens, sampling.
#pragma once

#include "base/result.h"
#include "runner/inbox.h"
#include "runner/loaded_model.h"
#include "runner/protocol.h"

namespace cohort::runner {

// Safe from any thread: reads what does not change. kInvalidArgument or kUnprocessable says what is wrong with the request.
Result<Submission> prepare(const GenerateRequest& request, const LoadedModel& model,
                           int64_t now_unix_seconds);

}  // namespace cohort::runner
