#pragma once

#include "base/json.h"
#include "net/http.h"

namespace cohort::api {

net::HttpResponse json_reply(const Json& body, int status = 200);

}  // namespace cohort::api
