// What to do after a transfer ended: pure decisions.
#pragma once

#include <string_view>

#include "base/result.h"
#include "hub/transfers.h"

namespace cohort::hub {

struct Verdict {
  enum class Kind { kDone, kRetry, kFail };
  Kind kind = Kind::kDone;
  Milliseconds wait{0};   // before the retry
  bool all_wait = false;  // the server asked everyone to slow down (429, 503)
  Error error;            // for kFail, and what a retry that was the last one fails with
};

// `failures` counts earlier attempts of this request that failed. `what` names the thing for messages. A 4xx other than
// 408 and 429 is final.
Verdict judge(const TransferResult& result, int failures, std::string_view what,
              const HubOptions& options);

}  // namespace cohort::hub
