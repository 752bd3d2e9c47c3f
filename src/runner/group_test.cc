// One model over several runners in this process, each a thread with a daemon's socket, linked over loopback TCP.
#include <gtest/gtest.h>

#include <memory>

#include "models/golden.h"
#include "runner/placement.h"
#include "runner/testing/daemon.h"
#include "transport/socket.h"

namespace cohort::runner {
namespace {

using testing::Answer;
using testing::chat;
using testing::Daemon;
using testing::kLantern;

constexpr int32_t kDemoLayers = 4;

GroupLayout layout_of(std::string_view sharding, int32_t ranks,
                      std::vector<double> fractions = {}) {
  return make_layout({sharding, ranks, std::move(fractions), kDemoLayers}).value();
}

// Exact: what ranks add up differs from the whole only by the order of summation.
LoadCommand exact_demo() {
  LoadCommand command = testing::demo();
  command.kv_type = "f32";
  command.math = "f32";
  return command;
}

// All ranks of one model, and the daemons that start them.
class Instance {
 public:
  explicit Instance(GroupLayout layout, LoadCommand command = exact_demo())
      : layout_(std::move(layout)), command_(std::move(command)) {
    for (int32_t r = 0; r < rank_count(layout_); ++r) {
      daemons_.push_back(std::make_unique<Daemon>());
      command_.group = layout_;
      command_.rank = r;
      daemons_.back()->send(FrameType::kLoad, command_);
    }
    for (auto& daemon : daemons_) ports_.push_back(listening(*daemon));
  }

  void connect() {
    for (int32_t r = 0; r < size(); ++r) rank(r).send(FrameType::kConnect, connect_command(r));
  }
  std::vector<ReadyInfo> ready() {
    std::vector<ReadyInfo> infos;
    for (auto& daemon : daemons_) infos.push_back(daemon->ready());
    return infos;
  }
  void start() {
    connect();
    ready();
  }

  ConnectCommand connect_command(int32_t of) const {
    ConnectCommand command{.instance = 77, .key = std::string(64, 'b'), .timeout_seconds = 30};
    for (int32_t r = 0; r < size(); ++r) {
      if (r != of)
        command.ranks.push_back(
            {r, "127.0.0.1", ports_[static_cast<size_t>(r)], fmt::format("host{}", r)});
    }
    return command;
  }

  int32_t size() const { return static_cast<int32_t>(daemons_.size()); }
  Daemon& rank(int32_t r) { return *daemons_[static_cast<size_t>(r)]; }
  uint16_t port(int32_t r) const { return ports_[static_cast<size_t>(r)]; }

 private:
  static uint16_t listening(Daemon& daemon) {
    const auto frame = daemon.next();
    EXPECT_TRUE(frame && frame->type == FrameType::kListening);
    return frame ? from_json<Listening>(frame->body).value_or(Listening{}).port : 0;
  }

  GroupLayout layout_;
  LoadCommand command_;
  std::vector<std::unique_ptr<Daemon>> daemons_;
  std::vector<uint16_t> ports_;
};

struct Cut {
  const char* name;
  GroupLayout layout;
};

class GroupOf : public ::testing::TestWithParam<Cut> {};

// Long enough to pass from page to page, and a prompt of several chunks would be no different.
GenerateRequest long_answer(uint64_t id, const std::string& about) {
  GenerateRequest request = chat(id, "Tell me about a " + about + ".");
  request.sampling.ignore_eos = true;
  request.max_tokens = 80;
  return request;
}

std::vector<std::vector<int32_t>> answers_of_one() {
  Daemon daemon;
  daemon.load(exact_demo());
  std::vector<std::vector<int32_t>> answers;
  for (const char* about : {"lantern", "river"})
    answers.push_back(daemon.ask(long_answer(answers.size() + 1, about)).tokens);
  return answers;
}

TEST_P(GroupOf, RanksAnswerAsOneDeviceDoes) {
  static const std::vector<std::vector<int32_t>> wanted = answers_of_one();
  Instance instance(GetParam().layout);
  instance.connect();
  const auto infos = instance.ready();
  for (const ReadyInfo& info : infos) {
    EXPECT_GT(info.weight_bytes, 0u);
    EXPECT_GT(info.kv_bytes, 0u);
    EXPECT_EQ(info.context_length, 1024);
  }
  Daemon& first = instance.rank(0);
  EXPECT_EQ(first.ask(chat(1, "What is a lantern?")).text, kLantern);
  // Side by side, one of them forked into two choices that share a page.
  GenerateRequest both = long_answer(3, "river");
  both.choices = 2;
  both.sampling.temperature = 0.0f;
  first.send(FrameType::kGenerate, long_answer(2, "lantern"));
  first.send(FrameType::kGenerate, both);
  EXPECT_EQ(first.finish(2).tokens, wanted[0]);
  EXPECT_EQ(first.finish(3, 0).tokens, wanted[1]);
  EXPECT_EQ(first.finish(3, 1).tokens, wanted[1]);
  first.send(FrameType::kShutdown, Json::object());
  for (int32_t r = 0; r < instance.size(); ++r) EXPECT_EQ(instance.rank(r).wait(), 0) << r;
  for (int32_t r = 1; r < instance.size(); ++r) EXPECT_EQ(instance.rank(r).next(), std::nullopt);
}

INSTANTIATE_TEST_SUITE_P(
    Several, GroupOf,
    ::testing::Values(
        Cut{"one", layout_of("tensor", 1)}, Cut{"tensor_2", layout_of("tensor", 2)},
        Cut{"tensor_3_uneven", layout_of("tensor", 3, {0.5, 0.25, 0.25})},
        Cut{"tensor_2_uneven", layout_of("tensor", 2, {0.3, 0.7})},
        Cut{"pipeline_2", layout_of("pipeline", 2)}, Cut{"pipeline_3", layout_of("pipeline", 3)},
        Cut{"pipeline_2_of_tensor_2", layout_of("pipeline+tensor", 4)},
        Cut{"one_then_two", {.stages = {{0, 1, {2}, {1.0}}, {1, 4, {0, 1}, {0.5, 0.5}}}}},
        Cut{"two_then_one", {.stages = {{0, 2, {2, 1}, {0.6, 0.4}}, {2, 4, {0}, {1.0}}}}}),
    [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace cohort::runner
