// The daemon's view of the model store: names to folders.
#pragma once

#include <string>

#include "cli/commands.h"
#include "node/model_catalog.h"

namespace cohort::cli {

// `kv_type` as in serve's --kv-type: what a position of the cache costs.
node::ModelCatalog model_catalog(const StoreOptions& store, const std::string& kv_type);

}  // namespace cohort::cli
