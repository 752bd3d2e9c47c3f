// Brings a model from the hub into the store: parallel ranges, resumed where an earlier pull ended, verified before a file
// takes its name.
#pragma once

#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>

#include "base/result.h"
#include "hub/options.h"
#include "hub/store.h"

namespace cohort::hub {

struct PullProgress {
  uint64_t done_bytes = 0, total_bytes = 0;
  uint64_t session_bytes = 0;   // received by this pull
  double bytes_per_second = 0;  // of this pull
  size_t files_done = 0, files_total = 0;
};

struct PullOptions {
  HubOptions hub;
  std::function<void(const PullProgress&)>
      progress;          // a few times a second, on the calling thread; may be empty
  std::stop_token stop;  // ends with kCancelled; what is there is kept for the next pull
};

// Blocks until the model is whole or the pull failed; for hours, maybe. `name` is a card's name or a repository. A model
// that is there already is only compared with the hub's listing (not even that when it is in a folder we do not own, or
// offline). Errors: kNotFound, kUnauthorized, kUnavailable (network, disk, another pull of the same), kDataLoss (checksums).
Result<StoredModel> pull(const Store& store, const std::string& name, const PullOptions& options);

}  // namespace cohort::hub
