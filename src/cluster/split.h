// How much of a model each device gets, once it is decided which devices work together.
#pragma once

#include <cstdint>
#include <vector>

#include "cluster/cost.h"

namespace cohort::cluster {

// Shares of a tensor group that let all its members finish together: in proportion to their read rates, less where
// memory is short, in steps of whole heads. `layers` is the range the group runs. Empty when the group cannot hold it.
std::vector<StageMember> balance_fractions(const PricedModel& model, const Topology& topology,
                                           const std::vector<int>& devices, int32_t first_layer,
                                           int32_t last_layer, const Load& load);

enum class Cut {
  kFastestFirst,  // the fastest group takes all it can hold: best for one stream
  kEven,          // all groups take equally long: best for many streams
};

// Contiguous layers for groups in pipeline order. Empty when the groups together cannot hold the model.
std::vector<Stage> cut_layers(const PricedModel& model, const Topology& topology,
                              const std::vector<std::vector<int>>& groups, Cut cut,
                              const Load& load);

}  // namespace cohort::cluster
