#include "runner/placement.h"

#include <gtest/gtest.h>

namespace cohort::runner {
namespace {

GroupLayout mixed() {
  return {.stages = {
              {0, 2, {3, 4, 5}, {0.5, 0.3, 0.2}}, {2, 3, {2}, {1.0}}, {3, 4, {0, 1}, {0.5, 0.5}}}};
}

TEST(Placement, StreamsFlowFromStageToStage) {
  const Placement front = *place_rank(mixed(), 4);
  EXPECT_TRUE(front.first_stage() && !front.last_stage);
  EXPECT_EQ(front.shard.rank, 1);
  EXPECT_EQ(front.shard.last_layer, 2);
  EXPECT_EQ(front.shard.fractions, (std::vector<double>{0.5, 0.3, 0.2}));
  EXPECT_EQ(front.stage, (std::vector<int>{3, 4, 5}));
  EXPECT_TRUE(front.receivers.empty());  // one rank takes the stream, and another hands it on
  EXPECT_EQ(place_rank(mixed(), 3)->receivers, std::vector<int>{2});

  const Placement middle = *place_rank(mixed(), 2);
  EXPECT_EQ(middle.sender, 3);
  EXPECT_EQ(middle.receivers, (std::vector<int>{0, 1}));

  const Placement last = *place_rank(mixed(), 1);
  EXPECT_TRUE(last.last_stage);
  EXPECT_EQ(last.sender, 2);
  EXPECT_EQ(last.earlier, (std::vector<int>{0, 3, 4, 5, 2}));
}

TEST(Placement, ALayoutThatMakesNoSenseIsRefused) {
  const auto refusal = [](auto&& change) {
    GroupLayout layout = mixed();
    change(layout);
    const auto placed = place_rank(layout, 0);
    return placed ? std::string() : placed.error().message;
  };
  EXPECT_NE(refusal([](auto& l) { l.stages.clear(); }).find("no stages"), std::string::npos);
  EXPECT_NE(refusal([](auto& l) { l.stages[1].first_layer = 1; }).find("ends at layer 2"),
            std::string::npos);
  EXPECT_NE(refusal([](auto& l) { l.stages[0].first_layer = 1; }), "");
  EXPECT_NE(refusal([](auto& l) { l.stages[0].fractions.pop_back(); }).find("2 fractions"),
            std::string::npos);
  EXPECT_NE(refusal([](auto& l) { l.stages[0].ranks[0] = 2; }).find("each once"),
            std::string::npos);
  EXPECT_NE(refusal([](auto& l) { l.stages[0].ranks[0] = 7; }).find("each once"),
            std::string::npos);
  EXPECT_NE(refusal([](auto& l) {
              std::swap(l.stages[2].ranks[0], l.stages[2].ranks[1]);
            }).find("rank 0 belongs there"),
            std::string::npos);
  EXPECT_NE(refusal([](auto& l) { l.wire = "int3"; }).find("int3"), std::string::npos);
  EXPECT_FALSE(place_rank(mixed(), 6));
  EXPECT_FALSE(place_rank(mixed(), -1));
}

TEST(Placement, WishesBecomeLayoutsOrNameTheLimit) {
  const auto pipeline = *make_layout({"pipeline", 3, {0.5, 0.25, 0.25}, 8});
  ASSERT_EQ(pipeline.stages.size(), 3u);
  EXPECT_EQ(pipeline.stages[0].last_layer, 4);
  EXPECT_EQ(pipeline.stages[0].ranks, std::vector<int32_t>{1});
  EXPECT_EQ(pipeline.stages[2].ranks, std::vector<int32_t>{0});
  for (const char* sharding : {"tensor", "pipeline", "pipeline+tensor"}) {
    const auto layout = make_layout({sharding, 4, {}, 4});
    ASSERT_TRUE(layout) << layout.error().message;
    EXPECT_EQ(rank_count(*layout), 4);
    for (int32_t r = 0; r < 4; ++r) EXPECT_TRUE(place_rank(*layout, r)) << sharding << r;
  }
  EXPECT_NE(make_layout({"pipeline", 5, {}, 4}).error().message.find("4 layers: too few for 5"),
            std::string::npos);
  EXPECT_FALSE(make_layout({"tensor", 2, {1.0}, 4}));
  EXPECT_FALSE(make_layout({"pipeline+tensor", 3, {}, 4}));
  EXPECT_FALSE(make_layout({"sideways", 2, {}, 4}));
  EXPECT_FALSE(make_layout({"tensor", 0, {}, 4}));
}

}  // namespace
}  // namespace cohort::runner
