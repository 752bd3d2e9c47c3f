// How the daemon learns what a model's name stands for. The hub fills this in; node knows neither cards nor downloads.
#pragma once

#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "base/result.h"
#include "cluster/cost.h"

namespace cohort::node {

struct ModelLocation {
  std::string
      name;  // the one true name, which other devices understand too; several names may lead here
  std::string
      source;  // for the runner: a folder or file, or "demo" for the model inside the binary
  uint64_t weight_bytes = 0;
  cluster::ModelCost cost;
};

struct ModelListing {
  std::string name;
  std::string owned_by = "cohort";
  int64_t created_unix_seconds = 0;
  uint64_t size_bytes = 0;
};

// Called on threads of their own, several at a time; they may block. `resolve` may download for hours, and must return soon
// once the token asks it to stop. kNotFound: nothing of that name.
struct ModelCatalog {
  std::function<Result<ModelLocation>(const std::string& name, std::stop_token stop)> resolve;
  std::function<std::vector<ModelListing>()> list;  // what is on this device
};

}  // namespace cohort::node
