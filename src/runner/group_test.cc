// One model over several runners in this process, each a thread with a daemon's socket, linked by shared memory or over
// loopback TCP.
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
constexpr int32_t kNobody = -1;

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
  // The command of each rank, less its place. The `distant` one stands for one on another host: it shares no memory.
  Instance(GroupLayout layout, std::vector<LoadCommand> commands, int32_t distant = kNobody)
      : layout_(std::move(layout)) {
    for (int32_t r = 0; r < rank_count(layout_); ++r) {
      LoadCommand& command = commands[static_cast<size_t>(r)];
      command.group = layout_;
      if (r == distant) command.group->transport = "tcp";
      command.rank = r;
      daemons_.push_back(std::make_unique<Daemon>());
      daemons_.back()->send(FrameType::kLoad, command);
    }
    for (auto& daemon : daemons_) ports_.push_back(listening(*daemon));
  }

  explicit Instance(const GroupLayout& layout, int32_t distant = kNobody)
      : Instance(layout,
                 std::vector<LoadCommand>(static_cast<size_t>(rank_count(layout)), exact_demo()),
                 distant) {}

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
  std::vector<std::unique_ptr<Daemon>> daemons_;
  std::vector<uint16_t> ports_;
};

struct Cut {
  const char* name;
  GroupLayout layout;
  std::string transport = "auto";
  int32_t distant = kNobody;
  std::vector<PairLayout> told = {};  // what pairs are to try first

  GroupLayout linked_layout() const {
    GroupLayout linked = layout;
    linked.transport = transport;
    linked.pairs = told;
    return linked;
  }
  std::string transport_between(int32_t a, int32_t b) const {
    for (const PairLayout& pair : told) {
      if (std::minmax(pair.first, pair.second) == std::minmax(a, b)) return pair.transport;
    }
    return transport == "tcp" || a == distant || b == distant ? "tcp" : "shm";
  }
};

class GroupOf : public ::testing::TestWithParam<Cut> {};

// Long enough to pass from page to page.
GenerateRequest long_answer(uint64_t id, const std::string& about) {
  GenerateRequest request = chat(id, "Tell me about a " + about + ".");
  request.sampling.ignore_eos = true;
  request.max_tokens = 80;
  return request;
}

// Of several chunks, which follow each other through the stages.
GenerateRequest long_prompt(uint64_t id) {
  GenerateRequest request{.id = id, .prompt_tokens = std::vector<int32_t>()};
  for (int32_t i = 0; i < 600; ++i) request.prompt_tokens->push_back(300 + i * 37 % 3000);
  request.sampling.ignore_eos = true;
  request.max_tokens = 12;
  return request;
}

std::vector<std::vector<int32_t>> answers_of_one() {
  Daemon daemon;
  daemon.load(exact_demo());
  std::vector<std::vector<int32_t>> answers;
  for (const char* about : {"lantern", "river"})
    answers.push_back(daemon.ask(long_answer(answers.size() + 1, about)).tokens);
  answers.push_back(daemon.ask(long_prompt(9)).tokens);
  return answers;
}

TEST_P(GroupOf, RanksAnswerAsOneDeviceDoes) {
  static const std::vector<std::vector<int32_t>> wanted = answers_of_one();
  Instance instance(GetParam().linked_layout(), GetParam().distant);
  instance.connect();
  const auto infos = instance.ready();
  for (int32_t r = 0; r < instance.size(); ++r) {
    const ReadyInfo& info = infos[static_cast<size_t>(r)];
    EXPECT_EQ(info.links.size(), infos.size() - 1);
    for (const RankLink& link : info.links)
      EXPECT_EQ(link.transport, GetParam().transport_between(r, link.rank)) << r << link.rank;
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
  first.send(FrameType::kGenerate, long_prompt(4));
  first.send(FrameType::kGenerate, both);
  EXPECT_EQ(first.finish(4).tokens, wanted[2]);
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
        Cut{"tensor_2_over_tcp", layout_of("tensor", 2), "tcp"},
        Cut{"tensor_2_by_shm", layout_of("tensor", 2), "shm"},
        Cut{"tensor_3_one_distant", layout_of("tensor", 3), "auto", 0},
        Cut{"tensor_3_one_pair_told", layout_of("tensor", 3), "auto", kNobody, {{2, 0, "tcp"}}},
        Cut{"pipeline_2_of_tensor_2_over_tcp", layout_of("pipeline+tensor", 4), "tcp"},
        Cut{"one_then_two", {.stages = {{0, 1, {2}, {1.0}}, {1, 4, {0, 1}, {0.5, 0.5}}}}},
        Cut{"two_then_one", {.stages = {{0, 2, {2, 1}, {0.6, 0.4}}, {2, 4, {0}, {1.0}}}}}),
    [](const auto& test) { return test.param.name; });

// What a runner says last, whatever of an answer came before. No request may have failed.
Failure last_words(Daemon& daemon) {
  while (const auto frame = daemon.next()) {
    if (frame->type == FrameType::kFailed) {
      EXPECT_EQ(daemon.next(), std::nullopt);
      return from_json<Failure>(frame->body).value();
    }
    EXPECT_EQ(frame->type, FrameType::kDelta);
    EXPECT_EQ(from_json<GenerateDelta>(frame->body)->finish_reason, "");
  }
  ADD_FAILURE() << "it said nothing";
  return {};
}

void expect_lost(Daemon& daemon, const std::string& name) {
  const Failure failure = last_words(daemon);
  EXPECT_EQ(failure.code, "unavailable");
  EXPECT_NE(failure.message.find(name), std::string::npos) << failure.message;
  EXPECT_EQ(daemon.wait(), 0);
}

GenerateRequest endless(uint64_t id) {
  GenerateRequest request = chat(id, "What is a lantern?");
  request.sampling.ignore_eos = true;
  return request;
}

class GroupThatBreaks : public ::testing::TestWithParam<Cut> {};

TEST_P(GroupThatBreaks, InTheMiddleOfAnAnswerEveryRankNamesTheLostOneAndNoRequestFails) {
  Instance instance(GetParam().linked_layout(), GetParam().distant);
  instance.start();
  instance.rank(0).send(FrameType::kGenerate, endless(1));
  instance.rank(0).read_delta();
  EXPECT_EQ(instance.rank(2).exit_code(), 0);  // its daemon is gone, and so is it
  expect_lost(instance.rank(0), "rank 2 (host2)");
  expect_lost(instance.rank(1), "rank 2 (host2)");
}

TEST_P(GroupThatBreaks, WhileNothingRunsEveryRankNoticesToo) {
  Instance instance(GetParam().linked_layout(), GetParam().distant);
  instance.start();
  EXPECT_EQ(instance.rank(1).exit_code(), 0);
  expect_lost(instance.rank(0), "rank 1 (host1)");
  expect_lost(instance.rank(2), "rank 1 (host1)");
}

TEST_P(GroupThatBreaks, WhenTheDaemonOfRank0GoesTheOthersEndInGoodOrder) {
  for (const bool busy : {false, true}) {
    Instance instance(GetParam().linked_layout(), GetParam().distant);
    instance.start();
    if (busy) {
      instance.rank(0).send(FrameType::kGenerate, endless(1));
      instance.rank(0).read_delta();
    }
    EXPECT_EQ(instance.rank(0).exit_code(), 0);
    for (const int32_t r : {1, 2}) {
      EXPECT_EQ(instance.rank(r).next(), std::nullopt);
      EXPECT_EQ(instance.rank(r).wait(), 0);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Several, GroupThatBreaks,
                         ::testing::Values(Cut{"tensor_shm", layout_of("tensor", 3), "shm"},
                                           Cut{"pipeline_shm", layout_of("pipeline", 3), "shm"},
                                           Cut{"tensor_tcp", layout_of("tensor", 3), "tcp"},
                                           Cut{"pipeline_tcp", layout_of("pipeline", 3), "tcp"},
                                           Cut{"mixed", layout_of("tensor", 3), "auto", 2}),
                         [](const auto& test) { return test.param.name; });

TEST(Group, ATransportThatAPairCannotHaveIsRefusedByAllWhoWishedIt) {
  GroupLayout layout = layout_of("tensor", 2);
  layout.transport = "shm";
  Instance instance(layout, /*distant=*/1);
  instance.connect();
  const Failure failure = last_words(instance.rank(0));
  EXPECT_EQ(failure.code, "invalid_argument");
  EXPECT_NE(failure.message.find("rank 1 (host1): not linked by shm"), std::string::npos)
      << failure.message;
  layout.transport = "pigeon";
  Daemon daemon;
  LoadCommand command = exact_demo();
  command.group = layout;
  daemon.send(FrameType::kLoad, command);
  EXPECT_NE(last_words(daemon).message.find("'pigeon'"), std::string::npos);
}

TEST(Group, AStrangerAtThePortIsIgnored) {
  Instance instance(layout_of("tensor", 2));
  std::vector<transport::UniqueFd> strangers;
  for (const std::string_view hello : {"", "GET / HTTP/1.1\r\n\r\n"}) {
    for (int32_t r = 0; r < 2; ++r) {
      const auto soon = transport::Deadline::after(std::chrono::seconds(30));
      strangers.push_back(transport::connect_tcp({"127.0.0.1", instance.port(r)}, soon).value());
      ASSERT_TRUE(transport::write_fully(strangers.back(), std::as_bytes(std::span(hello)), soon));
    }
  }
  instance.start();
  EXPECT_EQ(instance.rank(0).ask(chat(1, "What is a lantern?")).text, kLantern);
}

std::vector<std::string> last_messages(const std::vector<LoadCommand>& commands) {
  Instance instance(layout_of("pipeline", static_cast<int32_t>(commands.size())), commands);
  instance.connect();
  std::vector<std::string> messages;
  for (int32_t r = 0; r < instance.size(); ++r)
    messages.push_back(last_words(instance.rank(r)).message);
  return messages;
}

TEST(Group, ARankThatCannotLoadIsNamedByAll) {
  std::vector<LoadCommand> commands(3, exact_demo());
  commands[1].model = "/nowhere";
  const auto messages = last_messages(commands);
  EXPECT_EQ(messages[1].rfind("demo: /nowhere", 0), 0u) << messages[1];
  for (const size_t r : {0, 2})
    EXPECT_NE(messages[r].find("rank 1 (host1): gave up: demo: /nowhere"), std::string::npos)
        << messages[r];
}

TEST(Group, ARankWithoutRoomForItsCacheIsNamedByAll) {
  std::vector<LoadCommand> commands(3, exact_demo());
  commands[1].memory_limit_bytes = 1 << 20;
  for (const std::string& message : last_messages(commands)) {
    EXPECT_NE(message.find("rank 1: a context of 512"), std::string::npos) << message;
    EXPECT_NE(message.find("missing"), std::string::npos) << message;
  }
}

TEST(Group, TheRankWithTheLeastRoomDecidesTheContext) {
  std::vector<LoadCommand> commands(2, exact_demo());
  {
    Instance roomy(layout_of("tensor", 2));
    roomy.connect();
    const auto infos = roomy.ready();
    commands[1].memory_limit_bytes = infos[1].weight_bytes + infos[1].kv_bytes / 32 * 3 / 4;
  }
  Instance instance(layout_of("tensor", 2), commands);
  instance.connect();
  const auto infos = instance.ready();
  EXPECT_LT(infos[0].context_length, 1024);
  EXPECT_GE(infos[0].context_length, 512);
  EXPECT_EQ(infos[0].context_length, infos[1].context_length);
  EXPECT_EQ(instance.rank(0).ask(chat(1, "What is a lantern?")).text, kLantern);
}

TEST(Group, ALayoutThatDoesNotFitTheModelIsRefused) {
  const auto refusal = [](const GroupLayout& layout) {
    Instance instance(layout);
    instance.connect();
    return last_words(instance.rank(0)).message;
  };
  EXPECT_NE(refusal({.stages = {{0, 3, {0}, {1.0}}}}).find("the model has 4 layers"),
            std::string::npos);
  EXPECT_NE(refusal({.stages = {{0, 5, {0}, {1.0}}}}).find("no part of 4 layers"),
            std::string::npos);
  std::vector<double> nine(9, 1.0 / 9);
  EXPECT_NE(refusal(layout_of("tensor", 9, nine)).find("too few for 9 ranks"), std::string::npos);
}

TEST(Group, AConnectCommandThatMakesNoSenseIsRefused) {
  const auto refusal = [](auto&& change) {
    Instance instance(layout_of("tensor", 2));
    ConnectCommand command = instance.connect_command(0);
    change(command);
    instance.rank(0).send(FrameType::kConnect, command);
    return last_words(instance.rank(0)).message;
  };
  EXPECT_NE(refusal([](auto& c) { c.key.pop_back(); }).find("63 digits"), std::string::npos);
  EXPECT_NE(refusal([](auto& c) { c.key[9] = 'x'; }).find("hexadecimal"), std::string::npos);
  EXPECT_NE(refusal([](auto& c) { c.ranks.clear(); }).find("0 other ranks"), std::string::npos);
  EXPECT_NE(refusal([](auto& c) { c.ranks[0].rank = 0; }).find("rank 0 is no other"),
            std::string::npos);
  EXPECT_NE(refusal([](auto& c) { c.ranks[0].rank = 9; }).find("rank 9"), std::string::npos);
  EXPECT_NE(refusal([](auto& c) { c.timeout_seconds = 0.05; }).find("rank 1 (host1)"),
            std::string::npos);
}

}  // namespace
}  // namespace cohort::runner
