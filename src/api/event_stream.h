// Server-sent events that are no answer of a model: what happens in the cluster, or that something has come to be.
#pragma once

#include <cstdint>
#include <string>

#include "base/json.h"
#include "net/http.h"
#include "net/task.h"

namespace cohort::api {

// False from any call: the client is gone.
class EventStream {
 public:
  explicit EventStream(net::ResponseWriter& writer) : writer_(writer) {}

  net::Task<bool> start();                               // the headers, and a first comment
  net::Task<bool> send(Json data, uint64_t number = 0);  // 0: without an id
  net::Task<bool> keep_alive();
  net::Task<void> finish();

 private:
  net::Task<bool> write(std::string bytes);

  net::ResponseWriter& writer_;
};

// The client would rather have events than JSON.
bool accepts_events(const net::HttpRequest& request);

}  // namespace cohort::api
