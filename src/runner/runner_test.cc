// The whole child in this process: frames go in at one end of a socket pair and come out of it again.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "models/golden.h"
#include "runner/testing/daemon.h"

namespace cohort::runner {
namespace {

namespace fs = std::filesystem;
using testing::Answer;
using testing::chat;
using testing::Daemon;
using testing::demo;
using testing::kLantern;

TEST(Runner, TheDemoModelAnswersAQuestion) {
  Daemon daemon;
  const ReadyInfo ready = daemon.load(demo());
  EXPECT_EQ(ready.architecture, "llama");
  EXPECT_EQ(ready.context_length, 1024);
  EXPECT_EQ(ready.backend.rfind("cpu: ", 0), 0u);
  EXPECT_GT(ready.weight_bytes, 4'000'000u);
  EXPECT_GT(ready.kv_bytes, 0u);
  EXPECT_EQ(daemon.progress.layers_loaded, daemon.progress.total_layers);
  // Its generation_config.json says do_sample: false.
  const Answer& answer = daemon.ask(chat(1, "What is a lantern?"));
  EXPECT_EQ(answer.text, kLantern);
  EXPECT_EQ(answer.last.finish_reason, "stop");
  EXPECT_EQ(answer.last.prompt_tokens, 15);
  EXPECT_EQ(answer.last.completion_tokens, 9);  // with the end-of-sequence token
  daemon.wait_for_idle();
  EXPECT_EQ(daemon.stats.running, 0);
  EXPECT_EQ(daemon.stats.kv_pages_used, 0);
  EXPECT_EQ(daemon.stats.generated_tokens, 9u);
  EXPECT_EQ(daemon.exit_code(), 0);
}

TEST(Runner, PlainPromptsTokensAndEchoMeanTheSame) {
  Daemon daemon;
  daemon.load(demo());
  const std::string prompt =
      "<|im_start|>user\nWhat is a lantern?<|im_end|>\n<|im_start|>assistant\n";
  GenerateRequest request{.id = 1, .prompt = prompt, .echo = true};
  EXPECT_EQ(daemon.ask(request).text, prompt + kLantern);
  request = {.id = 2,
             .prompt_tokens = {
                 {4094, 274, 198, 279, 278, 261, 317, 267, 706, 30, 4095, 198, 4094, 276, 198}}};
  EXPECT_EQ(daemon.ask(request).text, kLantern);
}

TEST(Runner, AContinuedAnswerSendsOnlyTheRest) {
  Daemon daemon;
  daemon.load(demo());
  const Answer whole = daemon.ask(chat(1, "What is a lantern?"));
  GenerateRequest rest = chat(2, "What is a lantern?");
  rest.generated = {whole.tokens.begin(), whole.tokens.begin() + 4};
  const Answer& answer = daemon.ask(rest);
  EXPECT_EQ(answer.tokens, std::vector<int32_t>(whole.tokens.begin() + 4, whole.tokens.end()));
  EXPECT_TRUE(whole.text.ends_with(answer.text));
  EXPECT_EQ(answer.last.completion_tokens, whole.last.completion_tokens);
}

TEST(Runner, LogprobsNameTheirPieces) {
  Daemon daemon;
  daemon.load(demo());
  GenerateRequest request = chat(1, "What is a lantern?");
  request.sampling.logprobs = 2;
  const Answer& answer = daemon.ask(request);
  ASSERT_EQ(answer.logprobs.size(), answer.tokens.size());
  std::string text;
  for (size_t i = 0; i + 1 < answer.logprobs.size(); ++i) {
    EXPECT_EQ(answer.logprobs[i].chosen.id, answer.tokens[i]);
    EXPECT_EQ(answer.logprobs[i].top.size(), 2u);
    EXPECT_LE(answer.logprobs[i].chosen.logprob, 0);
    text += answer.logprobs[i].chosen.piece;
  }
  EXPECT_EQ(text, kLantern);
}

TEST(Runner, ManyRequestsAtOnceGiveWhatEachGivesAlone) {
  Daemon daemon;
  daemon.load(demo());
  const std::vector<std::string> words = {"lantern", "dog",    "computer", "river",
                                          "king",    "window", "bread",    "ship"};
  std::vector<std::string> alone;
  uint64_t id = 0;
  for (const std::string& word : words)
    alone.push_back(daemon.ask(chat(++id, "What is a " + word + "?")).text);
  for (const std::string& word : words)
    daemon.send(FrameType::kGenerate, chat(++id, "What is a " + word + "?"));
  for (size_t i = 0; i < words.size(); ++i)
    EXPECT_EQ(daemon.finish(words.size() + i + 1).text, alone[i]);
}

TEST(Runner, BadRequestsAreRefusedOneByOneWithTheReason) {
  Daemon daemon;
  daemon.load(demo());
  const auto refusal = [&](const GenerateRequest& request) {
    const Answer& answer = daemon.ask(request);
    EXPECT_EQ(answer.last.finish_reason, "error");
    return answer.last.error.value_or(Failure{});
  };
  EXPECT_NE(refusal({.id = 1}).message.find("exactly one of messages, prompt and prompt_tokens"),
            std::string::npos);
  GenerateRequest request{.id = 2, .prompt = "x"};
  request.messages = Json::array();
  EXPECT_EQ(refusal(request).code, "invalid_argument");
  EXPECT_NE(refusal({.id = 3, .prompt_tokens = {{5, 4096}}}).message.find("token 4096"),
            std::string::npos);
  const Failure too_long = refusal({.id = 4, .prompt_tokens = std::vector<int32_t>(2000, 7)});
  EXPECT_NE(too_long.message.find("2000"), std::string::npos);
  EXPECT_NE(too_long.message.find("1024"), std::string::npos);
  request = chat(5, "hi");
  request.sampling.top_p = 3.0f;
  EXPECT_NE(refusal(request).message.find("top_p"), std::string::npos);

  Json body = to_json(chat(6, "hi"));
  body["max_tokens"] = "many";
  daemon.send(FrameType::kGenerate, body);
  EXPECT_NE(daemon.finish(6).last.error->message.find("max_tokens: expected an integer"),
            std::string::npos);
  EXPECT_EQ(daemon.ask(chat(7, "What is a lantern?")).text, kLantern);
}

TEST(Runner, ACancelledRequestStopsAndFreesItsPages) {
  Daemon daemon;
  daemon.load(demo());
  GenerateRequest request = chat(1, "What is a lantern?");
  request.sampling.ignore_eos = true;
  daemon.send(FrameType::kGenerate, request);
  while (daemon.answers[{1, 0}].tokens.size() < 3) daemon.read_delta();
  daemon.send(FrameType::kCancel, RequestRef{.id = 1});
  const Answer& answer = daemon.finish(1);
  EXPECT_EQ(answer.last.finish_reason, "cancelled");
  EXPECT_LT(answer.tokens.size(), 1000u);
  daemon.wait_for_idle();
  EXPECT_EQ(daemon.stats.kv_pages_used, 0);
}

TEST(Runner, ShutdownFinishesWhatRunsAndTakesNothingNew) {
  Daemon daemon;
  daemon.load(demo());
  GenerateRequest request = chat(1, "What is a lantern?");
  request.sampling.ignore_eos = true;
  request.max_tokens = 60;
  daemon.send(FrameType::kGenerate, request);
  daemon.send(FrameType::kShutdown, Json::object());
  daemon.send(FrameType::kGenerate, chat(2, "hi"));
  EXPECT_EQ(daemon.finish(1).tokens.size(), 60u);
  EXPECT_EQ(daemon.finish(2).last.error->code, "unavailable");
  EXPECT_EQ(daemon.next(), std::nullopt);
  EXPECT_EQ(daemon.wait(), 0);
}

TEST(Runner, AClosedSocketEndsItEvenWhileBusy) {
  Daemon daemon;
  daemon.load(demo());
  GenerateRequest request = chat(1, "What is a lantern?");
  request.sampling.ignore_eos = true;
  daemon.send(FrameType::kGenerate, request);
  daemon.read_delta();
  EXPECT_EQ(daemon.exit_code(), 0);
}

TEST(Runner, NonsenseOnTheSocketEndsIt) {
  Daemon first_frame;
  first_frame.send(FrameType::kCancel, RequestRef{.id = 1});
  EXPECT_EQ(first_frame.next()->type, FrameType::kFailed);
  EXPECT_EQ(first_frame.wait(), 1);

  Daemon later;
  later.load(demo());
  later.send_raw(std::string(64, '\xff'));
  EXPECT_EQ(later.next(), std::nullopt);
  EXPECT_EQ(later.wait(), 0);
}

TEST(Runner, AModelThatCannotBeLoadedIsSaidWithTheReason) {
  const auto failure = [](const LoadCommand& command) {
    Daemon daemon;
    return daemon.load_fails(command).value_or(Failure{});
  };
  EXPECT_NE(
      failure({.model = "/nowhere/at/all", .model_name = "x"}).message.find("/nowhere/at/all"),
      std::string::npos);
  LoadCommand command = demo();
  command.context_length = 4096;
  EXPECT_EQ(failure(command).code, "invalid_argument");
  command = demo();
  command.kv_type = "int3";
  EXPECT_NE(failure(command).message.find("int3"), std::string::npos);
  command = demo();
  command.memory_limit_bytes = 1 << 20;
  EXPECT_EQ(failure(command).code, "unavailable");
  EXPECT_NE(failure(command).message.find("missing"), std::string::npos);
}

TEST(Runner, ASmallMemoryLimitShortensTheContext) {
  LoadCommand command = demo();
  {
    Daemon daemon;
    const ReadyInfo roomy = daemon.load(command);
    const uint64_t context_kv = roomy.kv_bytes / 32;  // 32 sequences of 1,024 tokens
    command.memory_limit_bytes = roomy.weight_bytes + context_kv * 3 / 4;
  }
  Daemon daemon;
  const ReadyInfo ready = daemon.load(command);
  EXPECT_LT(ready.context_length, 1024);
  EXPECT_GE(ready.context_length, 512);
  EXPECT_LE(ready.weight_bytes + ready.kv_bytes, command.memory_limit_bytes);
  EXPECT_EQ(daemon.ask(chat(1, "What is a lantern?")).text, kLantern);
}

// The trained model of the shared fixtures, where they are.
class RunnerOnTrainedModel : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* fixtures = std::getenv("COHORT_FIXTURES");
    folder_ = fixtures != nullptr ? fs::path(fixtures)
                                  : fs::path(COHORT_SOURCE_DIR) / "../shared/fixtures";
    folder_ /= "stories260K";
    if (!fs::exists(folder_)) GTEST_SKIP() << folder_ << " is not here";
    std::ifstream file(folder_ / "golden.json");
    golden_ = Json::parse(file);
    ids_ = golden_["greedy_ids"].get<std::vector<int32_t>>();
  }

  GenerateRequest greedy(uint64_t id, size_t tokens) const {
    GenerateRequest request{.id = id, .prompt = golden_["prompt"].get<std::string>()};
    request.max_tokens = static_cast<int32_t>(tokens);
    request.sampling.temperature = 0.0f;
    return request;
  }

  fs::path folder_;
  Json golden_;
  std::vector<int32_t> ids_;
};

TEST_F(RunnerOnTrainedModel, ContinuesAStoryTokenForTokenAgainAndAgain) {
  Daemon daemon;
  daemon.load({.model = folder_.string(),
               .model_name = "stories",
               .threads = 1,
               .kv_type = "f32",
               .math = "f32"});
  for (uint64_t id = 1; id <= 8; ++id) daemon.send(FrameType::kGenerate, greedy(id, ids_.size()));
  for (uint64_t id = 1; id <= 8; ++id) EXPECT_EQ(daemon.finish(id).tokens, ids_);
  // From the middle, with the prefix in memory: once as a prompt, once continued.
  GenerateRequest from_middle = greedy(9, ids_.size() - 100);
  from_middle.prompt.reset();
  from_middle.prompt_tokens = golden_["prompt_ids"].get<std::vector<int32_t>>();
  from_middle.prompt_tokens->insert(from_middle.prompt_tokens->end(), ids_.begin(),
                                    ids_.begin() + 100);
  const std::vector<int32_t> rest(ids_.begin() + 100, ids_.end());
  EXPECT_EQ(daemon.ask(from_middle).tokens, rest);
  EXPECT_EQ(daemon.finish(9).last.cached_tokens, 104);
  GenerateRequest continued = greedy(10, ids_.size());
  continued.generated = {ids_.begin(), ids_.begin() + 100};
  EXPECT_EQ(daemon.ask(continued).tokens, rest);
}

TEST_F(RunnerOnTrainedModel, KeepsToItInReducedPrecision) {
  constexpr size_t kFarFromTies = 64;
  const std::pair<const char*, const char*> choices[] = {
      {"f16", "fast"}, {"bf16", "fast"}, {"q8", "f32"}};
  for (const auto& [kv_type, math] : choices) {
    Daemon daemon;
    daemon.load({.model = folder_.string(),
                 .model_name = "stories",
                 .threads = 1,
                 .kv_type = kv_type,
                 .math = math});
    EXPECT_EQ(daemon.ask(greedy(1, kFarFromTies)).tokens,
              std::vector<int32_t>(ids_.begin(), ids_.begin() + kFarFromTies))
        << kv_type << " " << math;
  }
}

class RunnerOnFixture : public ::testing::TestWithParam<const char*> {};

TEST_P(RunnerOnFixture, GivesTheGoldenGreedyTokensWithoutATokenizer) {
  const fs::path folder = fs::path(COHORT_SOURCE_DIR) / "tests/data/models" / GetParam();
  const auto golden = models::read_golden(folder);
  ASSERT_TRUE(golden) << golden.error().message;
  Daemon daemon;
  daemon.load({.model = folder.string(),
               .model_name = "fixture",
               .threads = 1,
               .kv_type = "f32",
               .math = "f32"});
  GenerateRequest request{.id = 1, .prompt_tokens = golden->tokens};
  request.max_tokens = static_cast<int32_t>(golden->decode_tokens.size());
  request.sampling.temperature = 0.0f;
  request.sampling.ignore_eos = true;
  EXPECT_EQ(daemon.ask(request).tokens, golden->decode_tokens);
  EXPECT_NE(daemon.ask({.id = 2, .prompt = "text"}).last.error->message.find("no tokenizer.json"),
            std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Families, RunnerOnFixture,
                         ::testing::Values("llama-q4", "qwen3-bf16", "deepseek_v3-q8",
                                           "gpt_oss-mxfp4q8"));

}  // namespace
}  // namespace cohort::runner
