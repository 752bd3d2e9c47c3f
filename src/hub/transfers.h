// HTTP GETs side by side on one thread. Wraps libcurl.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "hub/options.h"

namespace cohort::hub {

struct ByteRange {
  uint64_t first, last;  // both included
};

struct TransferRequest {
  std::string url;
  bool with_token = false;  // never passed on when redirected to another host
  std::optional<ByteRange> range;
  std::optional<Milliseconds> deadline;  // of the whole exchange
  // The body of a 200 or, for a range, of a 206 that starts where it was asked to. False ends the transfer.
  std::function<bool(std::string_view)> on_data;
};

struct TransferResult {
  int status = 0;              // of the last response; 0: none came
  std::string error;           // why there is no whole response; empty when there is one
  bool range_ignored = false;  // a 200 came although a range was asked for; its body was not read
  std::string effective_url;   // after redirects
  std::string next_page;       // Link: <...>; rel="next"
  std::optional<Milliseconds> retry_after;
  uint64_t received_bytes = 0;  // given to on_data
};

// One thread. Dropping it ends what is under way.
class Transfers {
 public:
  explicit Transfers(const HubOptions& options);
  Transfers(const Transfers&) = delete;
  ~Transfers();

  void start(uint64_t id, TransferRequest request);
  size_t active() const;
  // Those that ended, waiting up to `timeout` for one. Without any under way it just waits.
  std::vector<std::pair<uint64_t, TransferResult>> wait(Milliseconds timeout);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cohort::hub
