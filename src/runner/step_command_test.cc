#include "runner/step_command.h"

#include <gtest/gtest.h>

#include "base/bytes.h"

namespace cohort::runner {
namespace {

constexpr PlanLimits kLimits{.kv_pages = 8, .vocab_size = 100};

backend::StepPlan plan() {
  return {.tokens = {5, 99, 7, 8},
          .runs = {{.first_row = 0, .rows = 1, .first_position = 63, .pages = {7, 0}},
                   {.first_row = 1, .rows = 3, .first_position = 30, .pages = {2, 3}}},
          .logits_rows = {0, 3}};
}

std::vector<std::byte> encoded(const backend::StepPlan& step,
                               const std::vector<PageCopy>& copies = {{1, 2}, {7, 3}}) {
  std::vector<std::byte> bytes;
  encode_step(copies, step, bytes);
  return bytes;
}

std::string refusal(const backend::StepPlan& step, const std::vector<PageCopy>& copies = {}) {
  StepCommand command;
  const auto done = decode_command(encoded(step, copies), kLimits, command);
  return done ? "" : done.error().message;
}

TEST(StepCommand, APlanComesOutAsItWentIn) {
  StepCommand command;
  for (int round = 0; round < 2; ++round) {  // into memory that holds the last one
    ASSERT_TRUE(decode_command(encoded(plan()), kLimits, command));
    EXPECT_FALSE(command.end);
    ASSERT_EQ(command.copies.size(), 2u);
    EXPECT_EQ(command.copies[1].from, 7);
    EXPECT_EQ(command.copies[1].to, 3);
    EXPECT_EQ(command.plan.tokens, plan().tokens);
    EXPECT_EQ(command.plan.logits_rows, plan().logits_rows);
    ASSERT_EQ(command.plan.runs.size(), 2u);
    EXPECT_EQ(command.plan.runs[1].first_row, 1);
    EXPECT_EQ(command.plan.runs[1].rows, 3);
    EXPECT_EQ(command.plan.runs[0].first_position, 63);
    EXPECT_EQ(command.plan.runs[0].pages, (std::vector<int32_t>{7, 0}));
  }
  std::vector<std::byte> bytes;
  encode_end(bytes);
  ASSERT_TRUE(decode_command(bytes, kLimits, command));
  EXPECT_TRUE(command.end);
}

TEST(StepCommand, OnlyWhatCanBeIsRunInHalves) {
  backend::StepPlan halved = plan();
  halved.logits_rows = {2, 3};
  halved.in_halves = true;
  StepCommand command;
  ASSERT_TRUE(decode_command(encoded(halved), kLimits, command));
  EXPECT_TRUE(command.plan.in_halves);
  PlanLimits of_a_stage = kLimits;
  of_a_stage.has_all_layers = false;
  EXPECT_EQ(decode_command(encoded(halved), of_a_stage, command).error().code, Code::kDataLoss);
  halved.logits_rows = {0, 3};
  EXPECT_NE(refusal(halved).find("cannot be halved"), std::string::npos);
  ASSERT_TRUE(decode_command(encoded(plan()), kLimits, command));
  EXPECT_FALSE(command.plan.in_halves);
}

TEST(StepCommand, BytesThatAreCutShortOrTooManyAreRefused) {
  std::vector<std::byte> bytes = encoded(plan());
  StepCommand command;
  for (size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(decode_command(std::span(bytes).first(size), kLimits, command)) << size;
  bytes.push_back({});
  EXPECT_FALSE(decode_command(bytes, kLimits, command));
}

TEST(StepCommand, CountsThatLieNeitherAllocateNorReadBeyond) {
  // Every u32 of the message in turn claims as much as it can.
  const std::vector<std::byte> honest = encoded(plan());
  for (size_t at = 0; at < honest.size(); at += sizeof(uint32_t)) {
    for (const uint32_t lie : {0xffffffffu, 0x7fffffffu, 0x40000001u, 1000u}) {
      std::vector<std::byte> bytes = honest;
      store(bytes.data() + at, lie);
      StepCommand command;
      EXPECT_FALSE(decode_command(bytes, kLimits, command)) << at << " " << lie;
    }
  }
}

TEST(StepCommand, PlansThatReachBeyondTheModelOrTheCacheAreRefused) {
  const auto changed = [](auto&& change) {
    backend::StepPlan step = plan();
    change(step);
    return refusal(step);
  };
  EXPECT_EQ(refusal(plan()), "");
  EXPECT_NE(changed([](auto& p) { p.tokens[0] = 100; }).find("a token 100"), std::string::npos);
  EXPECT_NE(changed([](auto& p) { p.tokens[0] = -1; }), "");
  EXPECT_NE(changed([](auto& p) { p.runs[0].pages[1] = 8; }).find("a page 8"), std::string::npos);
  EXPECT_NE(changed([](auto& p) { p.runs[0].first_position = 64; }).find("pages that hold 64"),
            std::string::npos);
  EXPECT_NE(changed([](auto& p) { p.runs[0].first_position = -1; }), "");
  EXPECT_NE(changed([](auto& p) { p.runs[0].first_position = 0x7fffffff; }), "");
  EXPECT_NE(changed([](auto& p) { p.runs[0].rows = 0; }), "");
  EXPECT_NE(changed([](auto& p) { p.runs.pop_back(); }).find("4 tokens for 1 rows"),
            std::string::npos);
  EXPECT_NE(changed([](auto& p) { p.logits_rows[1] = 4; }).find("a row 4"), std::string::npos);
  EXPECT_NE(changed([](auto& p) {
              p.logits_rows = {3, 0};
            }).find("row 0 after row 3"),
            std::string::npos);
  EXPECT_NE(changed([](auto& p) { p = {}; }).find("rows 0"), std::string::npos);
  EXPECT_NE(refusal(plan(), {{8, 0}}), "");
  EXPECT_NE(refusal(plan(), {{0, -1}}), "");
}

}  // namespace
}  // namespace cohort::runner
