#include "runner/placement.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "models/split.h"

namespace cohort::runner {
namespace {

using Stages = std::vector<StageLayout>;

Result<void> check_stage(const StageLayout& stage, int32_t first_layer) {
  if (stage.first_layer != first_layer || stage.last_layer <= stage.first_layer) {
    return fail(Code::kInvalidArgument,
                "a stage has layers {} to {}; the one before it ends at layer {}",
                stage.first_layer, stage.last_layer, first_layer);
  }
  if (stage.ranks.empty() || stage.ranks.size() != stage.fractions.size()) {
    return fail(Code::kInvalidArgument, "a stage has {} ranks and {} fractions", stage.ranks.size(),
                stage.fractions.size());
  }
  return {};
}

Result<void> check_layout(const GroupLayout& layout) {
  if (layout.stages.empty()) return fail(Code::kInvalidArgument, "the layout has no stages");
  std::set<int32_t> ranks;
  size_t listed = 0;
  for (int32_t layer = 0; const StageLayout& stage : layout.stages) {
    COHORT_TRY_VOID(check_stage(stage, layer));
    layer = stage.last_layer;
    listed += stage.ranks.size();
    ranks.insert(stage.ranks.begin(), stage.ranks.end());
  }
  const auto count = static_cast<int32_t>(ranks.size());
  if (listed > kMaxRanks || ranks.size() != listed || *ranks.begin() != 0 ||
      *ranks.rbegin() != count - 1) {
    return fail(Code::kInvalidArgument, "the layout's {} ranks are not 0 to {}, each once", listed,
                listed - 1);
  }
  if (layout.stages.back().ranks.front() != 0) {
    return fail(Code::kInvalidArgument, "rank {} is first of the last stage; rank 0 belongs there",
                layout.stages.back().ranks.front());
  }
  return {};
}

// Where `rank` stands: its stage, and its place in it.
struct Place {
  size_t stage = 0;
  size_t index = 0;
};
Result<Place> find_rank(const Stages& stages, int32_t rank) {
  for (size_t s = 0; s < stages.size(); ++s) {
    const auto found = std::ranges::find(stages[s].ranks, rank);
    if (found != stages[s].ranks.end())
      return Place{s, static_cast<size_t>(found - stages[s].ranks.begin())};
  }
  return fail(Code::kInvalidArgument, "rank {} is not in the layout", rank);
}

// All ranks of a stage hold the same stream; rank i of a stage takes it from rank i mod size of the one before.
void connect_stages(const Stages& stages, Place place, Placement& placement) {
  if (place.stage > 0) {
    const StageLayout& before = stages[place.stage - 1];
    placement.sender = before.ranks[place.index % before.ranks.size()];
  }
  if (placement.last_stage) return;
  const size_t own_size = stages[place.stage].ranks.size();
  const StageLayout& next = stages[place.stage + 1];
  for (size_t i = place.index; i < next.ranks.size(); i += own_size)
    placement.receivers.push_back(next.ranks[i]);
}

std::vector<int> numbered(int32_t first, int32_t count) {
  std::vector<int> ranks(static_cast<size_t>(count));
  std::iota(ranks.begin(), ranks.end(), first);
  return ranks;
}

std::vector<double> even(int32_t parts) {
  return std::vector<double>(static_cast<size_t>(parts), 1.0 / parts);
}

// Stages of `size` ranks each. Rank 0 stands first in the last.
Result<GroupLayout> stages_of(int32_t size, const std::vector<double>& stage_fractions,
                              const std::vector<double>& rank_fractions, int32_t layers) {
  const auto count = static_cast<int32_t>(stage_fractions.size());
  if (count > layers) {
    return fail(Code::kInvalidArgument, "the model has {} layers: too few for {} stages", layers,
                count);
  }
  GroupLayout layout;
  const auto shares = models::split(layers, stage_fractions);
  for (int32_t s = 0; s < count; ++s) {
    const bool last = s == count - 1;
    layout.stages.push_back(
        {.first_layer = static_cast<int32_t>(shares[static_cast<size_t>(s)].first),
         .last_layer = static_cast<int32_t>(shares[static_cast<size_t>(s)].end()),
         .ranks = numbered(last ? 0 : (s + 1) * size, size),
         .fractions = rank_fractions});
  }
  return layout;
}

}  // namespace

int32_t rank_count(const GroupLayout& layout) {
  size_t count = 0;
  for (const StageLayout& stage : layout.stages) count += stage.ranks.size();
  return static_cast<int32_t>(count);
}

Result<Placement> place_rank(const GroupLayout& layout, int32_t rank) {
  COHORT_TRY_VOID(check_layout(layout));
  COHORT_TRY(const Place place, find_rank(layout.stages, rank));
  const auto wire = transport::parse_wire(layout.wire);
  if (!wire) {
    return fail(Code::kInvalidArgument, "unknown wire type '{}'; use f32, bf16 or q8", layout.wire);
  }
  const StageLayout& stage = layout.stages[place.stage];
  Placement placement{.rank = rank,
                      .shard = {.first_layer = stage.first_layer,
                                .last_layer = stage.last_layer,
                                .rank = static_cast<int32_t>(place.index),
                                .fractions = stage.fractions},
                      .stage = {stage.ranks.begin(), stage.ranks.end()},
                      .earlier = {0},
                      .stages = static_cast<int32_t>(layout.stages.size()),
                      .last_stage = place.stage + 1 == layout.stages.size(),
                      .wire = *wire};
  for (size_t s = 0; s + 1 < layout.stages.size(); ++s) {
    const auto& ranks = layout.stages[s].ranks;
    placement.earlier.insert(placement.earlier.end(), ranks.begin(), ranks.end());
  }
  connect_stages(layout.stages, place, placement);
  return placement;
}

Result<GroupLayout> make_layout(const LayoutWish& wish) {
  if (wish.ranks < 1 || wish.ranks > static_cast<int32_t>(kMaxRanks)) {
    return fail(Code::kInvalidArgument, "{} ranks wanted; 1 to {} are possible", wish.ranks,
                kMaxRanks);
  }
  if (!wish.fractions.empty() && static_cast<int32_t>(wish.fractions.size()) != wish.ranks) {
    return fail(Code::kInvalidArgument, "{} fractions for {} ranks", wish.fractions.size(),
                wish.ranks);
  }
  const std::vector<double> fractions = wish.fractions.empty() ? even(wish.ranks) : wish.fractions;
  if (wish.sharding == "tensor") return stages_of(wish.ranks, {1}, fractions, wish.layers);
  if (wish.sharding == "pipeline") return stages_of(1, fractions, {1}, wish.layers);
  if (wish.sharding != "pipeline+tensor") {
    return fail(Code::kInvalidArgument,
                "unknown sharding '{}'; use tensor, pipeline or pipeline+tensor", wish.sharding);
  }
  if (wish.ranks % 2 != 0 || !wish.fractions.empty()) {
    return fail(Code::kInvalidArgument,
                "pipeline+tensor makes two even stages: it takes an even number of ranks, not {}, "
                "and no fractions",
                wish.ranks);
  }
  return stages_of(wish.ranks / 2, even(2), even(wish.ranks / 2), wish.layers);
}

}  // namespace cohort::runner
