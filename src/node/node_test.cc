#include "node/node.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <fstream>

#include "base/log.h"
#include "net/port_owner.h"
#include "node/testing/fake_catalog.h"
#include "node/testing/loop_test.h"

namespace cohort::node {
namespace {

using std::chrono::milliseconds;
using testing::ask;
using testing::kLongEnough;

struct Answer {
  std::string text;
  std::vector<int32_t> tokens;
  std::string finish_reason;
  std::optional<Error> error;
};

// Runs coroutines of a test against a node with the fake runner, and closes the node at the end.
class NodeTest : public testing::LoopTest {
 public:
  void SetUp() override {
    LoopTest::SetUp();
    options_.runner_command = {COHORT_FAKE_RUNNER};
    options_.restart.first_delay = milliseconds(1);
  }

  void run(net::Task<void> body) {
    if (!node_) make_node();
    run_loop(run_and_close(std::move(body)));
  }

  void make_node() {
    node_ = Node::create(loop_.get_executor(), options_, testing::fake_catalog()).value();
  }

  net::Task<void> run_and_close(net::Task<void> body) {
    co_await std::move(body);
    co_await node_->close();
  }

  net::Task<Answer> collect(Generation& generation) {
    Answer answer;
    while (!generation.finished()) {
      auto deltas = co_await generation.next(net::Clock::now() + kLongEnough);
      if (!deltas) {
        answer.error = deltas.error();
        break;
      }
      for (const auto& delta : *deltas) {
        if (delta.choice != 0) continue;
        answer.text += delta.text;
        answer.tokens.insert(answer.tokens.end(), delta.tokens.begin(), delta.tokens.end());
        if (!delta.finish_reason.empty()) answer.finish_reason = delta.finish_reason;
      }
    }
    co_return answer;
  }

  net::Task<Answer> answer(std::string model, std::string prompt) {
    const auto generation = node_->generate(model, ask(std::move(prompt)));
    Answer collected = co_await collect(*generation);
    co_return collected;
  }

  net::Task<Result<InstanceStatus>> place(std::string model, bool wait) {
    PlaceWish wish;
    wish.model = std::move(model);
    Result<InstanceStatus> placed = co_await node_->place(std::move(wish), wait);
    co_return placed;
  }

  InstanceStatus only_instance() {
    const auto all = node_->instances();
    EXPECT_LE(all.size(), 1u);
    return all.empty() ? InstanceStatus{} : all[0];
  }

  NodeOptions options_;
  std::unique_ptr<Node> node_;
};

TEST_F(NodeTest, PlacesAModelOnDemandAndAnswers) {
  run([](NodeTest& t) -> net::Task<void> {
    const Answer answer = co_await t.answer("echo", "say one two three");
    EXPECT_EQ(answer.text, "one two three");
    EXPECT_EQ(answer.finish_reason, "stop");
    const InstanceStatus status = t.only_instance();
    EXPECT_EQ(status.state, "ready");
    EXPECT_EQ(status.model, "echo");
    EXPECT_DOUBLE_EQ(status.shard.decode_tokens_per_s, 2 / 0.5);
  }(*this));
}

TEST_F(NodeTest, RequestsThatArriveTogetherShareOneInstanceUnderAnyOfItsNames) {
  run([](NodeTest& t) -> net::Task<void> {
    std::vector<std::unique_ptr<Generation>> generations;
    for (int i = 0; i < 20; ++i) {
      generations.push_back(
          t.node_->generate(i % 2 ? "echo" : "echo-alias", ask("say " + std::to_string(i))));
    }
    for (int i = 0; i < 20; ++i) {
      const Answer answer = co_await t.collect(*generations[i]);
      EXPECT_EQ(answer.text, std::to_string(i));
    }
    EXPECT_EQ(t.node_->instances().size(), 1u);
  }(*this));
}

TEST_F(NodeTest, AnUnknownModelIsNotFoundAndOneThatDoesNotFitSaysHowMuchIsMissing) {
  run([](NodeTest& t) -> net::Task<void> {
    const Answer unknown = co_await t.answer("unknown-model", "say x");
    EXPECT_EQ(unknown.error->code, Code::kNotFound);
    const Answer huge = co_await t.answer("huge", "say x");
    EXPECT_EQ(huge.error->code, Code::kUnavailable);
    EXPECT_NE(huge.error->message.find("missing"), std::string::npos) << huge.error->message;
    EXPECT_TRUE(t.node_->instances().empty());
  }(*this));
}

TEST_F(NodeTest, AStreamGoesOnWhereItWasWhenTheRunnerCrashes) {
  run([](NodeTest& t) -> net::Task<void> {
    const Answer answer = co_await t.answer("echo", "crash 2 say one two three four");
    EXPECT_FALSE(answer.error) << answer.error->message;
    EXPECT_EQ(answer.text, "one two three four");
    EXPECT_EQ(answer.tokens, (std::vector<int32_t>{0, 1, 2, 3}));
    EXPECT_EQ(t.only_instance().heals, 1);
  }(*this));
}

TEST_F(NodeTest, AKilledRunnerIsReplacedAndEveryStreamResumed) {
  run([](NodeTest& t) -> net::Task<void> {
    const auto first = t.node_->generate("echo", ask("forever"));
    const auto begun = co_await first->next(net::kNever);
    EXPECT_TRUE(begun);
    const InstanceStatus before = t.only_instance();
    ::kill(before.shard.runner_pid, SIGKILL);
    const bool healed = co_await t.eventually([&] {
      const InstanceStatus now = t.only_instance();
      return now.state == "ready" && now.shard.runner_pid != before.shard.runner_pid;
    });
    EXPECT_TRUE(healed);
    const auto more = co_await first->next(net::Clock::now() + kLongEnough);
    EXPECT_TRUE(more);
    // Every token's number follows the last one's: nothing lost, nothing twice.
    const auto& tokens = first->choices()[0].tokens;
    for (size_t i = 0; i < tokens.size(); ++i) EXPECT_EQ(tokens[i], static_cast<int32_t>(i));
  }(*this));
}

TEST_F(NodeTest, ChoicesResumeEachWithItsOwnSeed) {
  run([](NodeTest& t) -> net::Task<void> {
    auto request = ask("crash 1 seed");
    request.choices = 2;
    request.sampling.seed = 70;
    const auto generation = t.node_->generate("echo", std::move(request));
    std::map<int32_t, std::string> text;
    while (!generation->finished()) {
      const auto deltas = co_await generation->next(net::Clock::now() + kLongEnough);
      EXPECT_TRUE(deltas) << deltas.error().message;
      if (!deltas) co_return;
      for (const auto& delta : *deltas) text[delta.choice] += delta.text;
    }
    EXPECT_EQ(text[0], "seed 70");
    EXPECT_EQ(text[1], "seed 71");
  }(*this));
}

TEST_F(NodeTest, FiveCrashesFailTheInstanceAndSayWhy) {
  run([](NodeTest& t) -> net::Task<void> {
    const Answer answer = co_await t.answer("crash-on-load", "say x");
    EXPECT_EQ(answer.error->code, Code::kUnavailable);
    EXPECT_NE(answer.error->message.find("crashed 5 times"), std::string::npos)
        << answer.error->message;
    EXPECT_NE(answer.error->message.find("exited with code 42"), std::string::npos)
        << answer.error->message;
    EXPECT_EQ(t.only_instance().state, "failed");
    const Answer again = co_await t.answer("crash-on-load", "say x");
    EXPECT_EQ(again.error->message, answer.error->message);
  }(*this));
}

TEST_F(NodeTest, ARunnerThatCannotLoadFailsAtOnceWithItsOwnReason) {
  run([](NodeTest& t) -> net::Task<void> {
    const Answer answer = co_await t.answer("fail-on-load", "say x");
    EXPECT_EQ(answer.error->message, "the weights are 3 GiB too large");
    EXPECT_EQ(t.only_instance().heals, 0);
  }(*this));
}

TEST_F(NodeTest, ARunnerThatCannotBeStartedSaysWhy) {
  options_.runner_command = {"/nonexistent/runner"};
  run([](NodeTest& t) -> net::Task<void> {
    const Answer answer = co_await t.answer("echo", "say x");
    EXPECT_NE(answer.error->message.find("/nonexistent/runner"), std::string::npos);
  }(*this));
}

TEST_F(NodeTest, ARequestThatKillsRunnersIsGivenUpAndTheOthersGoOn) {
  run([](NodeTest& t) -> net::Task<void> {
    const auto innocent = t.node_->generate("echo", ask("forever"));
    EXPECT_TRUE(co_await innocent->next(net::kNever));
    const Answer poison = co_await t.answer("echo", "poison");
    EXPECT_EQ(poison.error->code, Code::kInternal);
    EXPECT_NE(poison.error->message.find("3 times"), std::string::npos) << poison.error->message;
    const auto more = co_await innocent->next(net::Clock::now() + kLongEnough);
    EXPECT_TRUE(more) << more.error().message;
    const bool ready = co_await t.eventually([&] { return t.only_instance().state == "ready"; });
    EXPECT_TRUE(ready);
  }(*this));
}

TEST_F(NodeTest, AnErrorOfTheRunnerKeepsItsCode) {
  run([](NodeTest& t) -> net::Task<void> {
    const Answer answer = co_await t.answer("echo", "fail invalid_argument the prompt is too long");
    EXPECT_EQ(answer.error->code, Code::kInvalidArgument);
    EXPECT_EQ(answer.error->message, "the prompt is too long");
  }(*this));
}

TEST_F(NodeTest, DroppingAGenerationCancelsItInTheRunner) {
  run([](NodeTest& t) -> net::Task<void> {
    auto generation = t.node_->generate("echo", ask("forever"));
    EXPECT_TRUE(co_await generation->next(net::kNever));
    EXPECT_TRUE(co_await t.eventually([&] { return t.only_instance().shard.running == 1; }));
    generation.reset();
    EXPECT_TRUE(co_await t.eventually([&] { return t.only_instance().shard.running == 0; }));
    EXPECT_EQ(t.only_instance().shard.requests, 0);
  }(*this));
}

TEST_F(NodeTest, OneRequestTooManyIsRefusedAndAFreedPlaceIsUsed) {
  options_.load.max_sequences = 2;
  options_.load.max_queued = 3;
  run([](NodeTest& t) -> net::Task<void> {
    std::vector<std::unique_ptr<Generation>> generations;
    for (int i = 0; i < 5; ++i) generations.push_back(t.node_->generate("echo", ask("stall")));
    const Answer while_placing = co_await t.answer("echo", "say x");
    EXPECT_EQ(while_placing.error->code, Code::kResourceExhausted);
    EXPECT_TRUE(co_await t.eventually([&] { return t.only_instance().shard.running == 5; }));
    const Answer while_running = co_await t.answer("echo", "say x");
    EXPECT_EQ(while_running.error->code, Code::kResourceExhausted);
    generations.pop_back();
    const Answer after = co_await t.answer("echo", "say x");
    EXPECT_EQ(after.text, "x");
  }(*this));
}

TEST_F(NodeTest, AReaderSlowerThanTheModelPausesItAndLosesNothing) {
  run([](NodeTest& t) -> net::Task<void> {
    constexpr int kTokens = 5000;  // five megabytes of text, while a generation holds one
    const auto generation = t.node_->generate("echo", ask(fmt::format("flood {}", kTokens)));
    size_t next = 0;
    while (!generation->finished()) {
      EXPECT_TRUE(co_await t.eventually(
          [&] { return generation->paused || generation->all_choices_finished(); }));
      EXPECT_LT(generation->buffered_bytes(), 2 * Generation::kMaxBufferedBytes);
      const auto deltas = co_await generation->next(net::Clock::now() + kLongEnough);
      EXPECT_TRUE(deltas);
      if (!deltas) co_return;
      for (const auto& delta : *deltas) {
        for (const int32_t token : delta.tokens) EXPECT_EQ(token, static_cast<int32_t>(next++));
      }
    }
    EXPECT_EQ(next, static_cast<size_t>(kTokens));
  }(*this));
}

TEST_F(NodeTest, AnInstanceNobodyUsesIsUnloadedAndPlacedAgainOnDemand) {
  options_.idle_unload = milliseconds(20);
  run([](NodeTest& t) -> net::Task<void> {
    const Answer first = co_await t.answer("echo", "say x");
    EXPECT_TRUE(co_await t.eventually([&] { return t.node_->instances().empty(); }));
    const Answer second = co_await t.answer("echo", "say y");
    EXPECT_EQ(second.text, "y");
  }(*this));
}

TEST_F(NodeTest, SeveralModelsRunBesideEachOtherAndAreStoppedByIdOrName) {
  run([](NodeTest& t) -> net::Task<void> {
    const auto first = co_await t.place("echo:a", true);
    const auto second = co_await t.place("echo:b", true);
    EXPECT_EQ(t.node_->instances().size(), 2u);
    EXPECT_EQ(second->state, "ready");
    EXPECT_TRUE(co_await t.node_->stop(first->id));
    EXPECT_EQ(t.only_instance().model, "echo:b");
    EXPECT_TRUE(co_await t.node_->stop("echo:b"));
    EXPECT_TRUE(t.node_->instances().empty());
    const auto none = co_await t.node_->stop("echo:b");
    EXPECT_EQ(none.error().code, Code::kNotFound);
  }(*this));
}

TEST_F(NodeTest, StoppingAnInstanceEndsItsStreamsWithTheReason) {
  run([](NodeTest& t) -> net::Task<void> {
    const auto generation = t.node_->generate("echo", ask("forever"));
    EXPECT_TRUE(co_await generation->next(net::kNever));
    EXPECT_TRUE(co_await t.node_->stop("echo"));
    const Answer rest = co_await t.collect(*generation);
    EXPECT_EQ(rest.error->message, "the instance was stopped");
  }(*this));
}

TEST_F(NodeTest, StoppingDoesNotWaitForARunnerThatLoads) {
  run([](NodeTest& t) -> net::Task<void> {
    const auto placed = co_await t.place("never-ready", false);
    EXPECT_EQ(placed->state, "loading");
    EXPECT_TRUE(co_await t.node_->stop(placed->id));
  }(*this));
}

TEST_F(NodeTest, DrainingLetsRequestsFinishAndRefusesNewOnes) {
  run([](NodeTest& t) -> net::Task<void> {
    const auto running = t.node_->generate("echo", ask("say one two"));
    net::TaskGroup drain(co_await net::asio::this_coro::executor);
    drain.spawn(t.node_->drain(net::Clock::now() + kLongEnough));
    EXPECT_TRUE(co_await t.eventually([&] { return t.node_->draining(); }));
    const Answer refused = co_await t.answer("echo", "say x");
    EXPECT_EQ(refused.error->code, Code::kUnavailable);
    const Answer finished = co_await t.collect(*running);
    co_await drain.join();
    // It had no instance yet: a device that leaves places none.
    EXPECT_TRUE(finished.error || finished.text == "one two");
  }(*this));
}

TEST_F(NodeTest, ReadinessNeedsATokenOfSomeInstance) {
  run([](NodeTest& t) -> net::Task<void> {
    const auto without = co_await t.node_->prove_ready();
    EXPECT_EQ(without.error().code, Code::kUnavailable);
    EXPECT_TRUE(co_await t.place("echo", true));
    EXPECT_TRUE(co_await t.node_->prove_ready());
  }(*this));
}

TEST_F(NodeTest, NoRunnerOutlivesTheNode) {
  int32_t pid = 0;
  run([](NodeTest& t, int32_t& runner) -> net::Task<void> {
    const auto placed = co_await t.place("echo", true);
    runner = placed->shard.runner_pid;
    EXPECT_EQ(::kill(runner, 0), 0);
  }(*this, pid));
  EXPECT_NE(::kill(pid, 0), 0);
}

// An instance by itself, for the deadlines a node leaves at their defaults.
TEST(Instance, ARunnerThatKeepsSilentWhileItShouldWorkIsReplaced) {
  log::configure(log::Level::kOff, log::Format::kText, "test");
  net::Loop loop(1);
  Instance instance(loop.get_executor(), {.id = "i",
                                          .model = {.name = "echo", .source = "echo"},
                                          .load = {.model = "echo"},
                                          .runner_command = {COHORT_FAKE_RUNNER},
                                          .restart = {.first_delay = milliseconds(1)},
                                          .busy_silence = milliseconds(50)});
  net::TaskGroup tasks(loop.get_executor());
  tasks.spawn(instance.run());
  tasks.spawn([](net::Loop& l, Instance& i) -> net::Task<void> {
    Generation hang(l.get_executor(), ask("hang"));
    EXPECT_TRUE(i.accept(hang));
    const auto outcome = co_await hang.next(net::Clock::now() + kLongEnough);
    EXPECT_FALSE(outcome);
    const std::string why = outcome ? "" : outcome.error().message;
    EXPECT_NE(why.find("said nothing"), std::string::npos) << why;
    i.stop("test over");
  }(loop, instance));
  loop.run();
}

TEST(Device, KnowsItsMemory) {
  const DeviceMemory memory = device_memory();
  EXPECT_GT(memory.total_bytes, 0u);
  EXPECT_GT(memory.available_bytes, 0u);
  EXPECT_LE(memory.available_bytes, memory.total_bytes);
}

}  // namespace
}  // namespace cohort::node
