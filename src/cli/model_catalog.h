// The daemon's view of the model store: names to folders.
#pragma once

#include "cli/commands.h"
#include "node/model_catalog.h"

namespace cohort::cli {

node::ModelCatalog model_catalog(const StoreOptions& store);

}  // namespace cohort::cli
