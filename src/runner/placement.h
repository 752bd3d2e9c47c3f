// Where a rank stands in a group of several: pure functions of the layout.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "models/model.h"
#include "runner/protocol.h"
#include "transport/wire.h"

namespace cohort::runner {

struct Placement {
  int32_t rank = 0;                // of the instance
  models::Shard shard;             // with our place in the stage's tensor group
  std::vector<int> stage = {0};    // ranks of our stage, in the tensor group's order
  std::vector<int> earlier = {0};  // rank 0 and all ranks of the stages before the last
  std::vector<int> receivers;      // of the next stage: those our stream goes to
  int sender = -1;                 // of the stage before: whose stream we take
  int32_t stages = 1;              // of the instance
  bool last_stage = true;
  transport::Wire wire = transport::Wire::kF32;

  bool first_stage() const { return sender < 0; }
};

inline constexpr size_t kMaxRanks = 64;

// kInvalidArgument says what is wrong with the layout; every rank comes to the same answer.
Result<Placement> place_rank(const GroupLayout& layout, int32_t rank);
int32_t rank_count(const GroupLayout& layout);

// `sharding`: tensor | pipeline | pipeline+tensor (two stages of equally many ranks). `fractions` in the order of
// layers and ranks; empty: even. kInvalidArgument names the limit that is passed.
struct LayoutWish {
  std::string_view sharding = "tensor";
  int32_t ranks = 1;
  std::vector<double> fractions;
  int32_t layers = 0;  // of the model
};
Result<GroupLayout> make_layout(const LayoutWish& wish);

}  // namespace cohort::runner
