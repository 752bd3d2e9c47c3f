// What a checkpoint costs to run, read off its config.json and the sizes of its tensors: what the planner works with.
#pragma once

#include "cluster/cost.h"
#include "formats/checkpoint.h"

namespace cohort::cli {

// `kv_type` as in serve's --kv-type. kUnsupported: no layers are to be found in it.
Result<cluster::ModelCost> model_cost(const formats::Checkpoint& checkpoint,
                                      std::string_view kv_type);

}  // namespace cohort::cli
