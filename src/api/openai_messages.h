#pragma once

#include "base/json.h"
#include "base/result.h"

namespace cohort::api {

// Messages as templates expect them, out of OpenAI's: parts become one text, "developer" speaks as "system", the arguments
// of tool calls become objects. kUnprocessable names the field; kInvalidArgument: a part no text model can take.
Result<Json> normalise_messages(const Json& messages);

}  // namespace cohort::api
