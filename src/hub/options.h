// How to reach the hub, as the environment says unless told otherwise.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace cohort::hub {

using Milliseconds = std::chrono::milliseconds;

// Every wait has a bound. Tests set small ones.
struct HubOptions {
  std::string endpoint = "https://huggingface.co";
  std::string token;    // empty: anonymous
  std::string ca_file;  // empty: the system's
  bool offline = false;

  int connections = 8;               // at once
  uint64_t chunk_bytes = 64u << 20;  // of one request
  int attempts = 6;  // of one request without getting on; then the pull fails, to be resumed
  Milliseconds connect_timeout{15'000};
  Milliseconds stall_timeout{30'000};  // without a byte
  Milliseconds call_timeout{60'000};   // of a whole request for a listing or other small things
  Milliseconds backoff{500};           // before the second attempt, doubled each time
  Milliseconds longest_wait{120'000};  // whatever Retry-After says
};

// HF_ENDPOINT, HF_TOKEN (or the token the hub's own client stored under HF_HOME), HF_HUB_OFFLINE, SSL_CERT_FILE. Proxies
// (HTTPS_PROXY, NO_PROXY...) are read from the environment at each request.
HubOptions hub_options_from_environment();

}  // namespace cohort::hub
