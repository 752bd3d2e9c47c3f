#include "api/json_reply.h"

namespace cohort::api {

net::HttpResponse json_reply(const Json& body, int status) {
  net::HttpResponse response;
  response.status = status;
  response.headers.push_back({"Content-Type", "application/json"});
  response.body = dump_json(body);
  return response;
}

}  // namespace cohort::api
