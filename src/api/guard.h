// Who may talk to the API: keys, and the care a server on loopback needs because browsers reach it too. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "net/http.h"

namespace cohort::api {

struct GuardOptions {
  std::vector<std::string> api_keys;      // any of them; none: open
  std::vector<std::string> cors_origins;  // that may call from a browser; "*": all
  bool loopback_only = true;              // where the server listens
};

class Guard {
 public:
  explicit Guard(GuardOptions options) : options_(std::move(options)) {}

  // The refusal, or nothing. 401: no valid key (Authorization: Bearer, or x-api-key). 403: a page of another site asks, or
  // the Host is no name of this machine though we listen on loopback alone (DNS rebinding).
  std::optional<net::HttpResponse> check(const net::HttpRequest& request) const;

  // What a browser needs to see in the answer; none for origins that are not allowed.
  std::vector<net::Header> cors_headers(const net::HttpRequest& request) const;

 private:
  bool has_key(const net::HttpRequest& request) const;
  bool allows_origin(std::string_view origin, const net::HttpRequest& request) const;

  GuardOptions options_;
};

// Takes as long whether the texts differ early, late or not at all.
bool equal_in_constant_time(std::string_view a, std::string_view b);

}  // namespace cohort::api
