// Refuses a config.json whose sizes no model has, before anything is allocated by them.
#pragma once

#include "base/json.h"
#include "base/result.h"

namespace cohort::formats {

// Looks at the known size keys of the config and of its "text_config". kInvalidArgument names the key, its value and the
// bounds. Keys that are absent or null pass; wrong types too (the family's own reader names those).
Result<void> check_config_limits(const Json& config);

}  // namespace cohort::formats
