// Placing, for commands that need an instance first.
#pragma once

#include "base/json.h"
#include "cli/commands.h"

namespace cohort::cli {

// As many as there shall be replicas. The last one's status, as /cohort/instances gives it.
Result<Json> place_instances(const Common& common, const PlaceOptions& options);

}  // namespace cohort::cli
