// The seam between HTTP's many ways to ask for text and the one way node knows. A dialect reads a body into plain requests
// and makes an encoder for what comes back; nothing below it knows dialects.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "net/http.h"
#include "runner/protocol.h"

namespace cohort::api {

// Turns deltas into bytes, in order: begin(), encode()..., end(), or after a failure error() instead of end(). A collected
// reply is an encoder whose whole body comes out of end(). Choices are numbered through all requests of the body.
class Encoder {
 public:
  virtual ~Encoder() = default;
  virtual std::string begin() = 0;
  virtual std::string encode(const runner::GenerateDelta& delta) = 0;
  virtual std::string end() = 0;
  virtual std::string error(
      const Error& error) = 0;           // the proper end of a stream that failed; streams only
  virtual std::string keep_alive() = 0;  // while nothing comes; streams only
};

struct Decoded {
  std::string model;
  std::vector<runner::GenerateRequest>
      requests;  // usually one; run at the same time, answered in order
  bool stream = false;
  std::vector<net::Header> headers;  // of a 200; Content-Type is there
  std::unique_ptr<Encoder> encoder;
};

class Dialect {
 public:
  virtual ~Dialect() = default;
  // kInvalidArgument, or kUnprocessable with the field's path: "messages[2].content: expected a string, got 7".
  virtual Result<Decoded> decode(const Json& body) const = 0;
  virtual net::HttpResponse error_response(const Error& error) const = 0;
};

}  // namespace cohort::api
