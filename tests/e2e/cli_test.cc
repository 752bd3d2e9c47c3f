// The commands as people and scripts type them.
#include <gtest/gtest.h>

#include "e2e/device.h"

namespace cohort::e2e {
namespace {

const std::string kModels = COHORT_SOURCE_DIR "/tests/data/models/";

// A URL where nobody listens, so that `run` starts a private device.
const std::vector<std::string> kNowhere = {"--api", "http://127.0.0.1:1"};

TEST(Cli, RunAnswersOnePromptFromAPrivateDevice) {
  const CommandResult result =
      run_cohort({"run", "demo", "What is a lantern?", "--temperature", "0", "--stats"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "Light in a transparent protective case.\n");
  EXPECT_NE(result.err.find("tok/s"), std::string::npos) << result.err;
}

TEST(Cli, RunTakesThePromptFromStandardInput) {
  const CommandResult result =
      run_cohort({"run", "demo", "--temperature", "0"}, "What is a lantern?");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "Light in a transparent protective case.\n");
}

TEST(Cli, VersionPrintsAVersion) {
  EXPECT_TRUE(run_cohort({"version"}).out.starts_with("cohort "));
  EXPECT_TRUE(parse_json(run_cohort({"version", "--json"}).out).value().contains("version"));
}

TEST(Cli, UnknownCommandsAndFlagsAreUsageErrors) {
  EXPECT_EQ(run_cohort({"frobnicate"}).exit_code, 2);
  EXPECT_EQ(run_cohort({"run"}).exit_code, 2);
  EXPECT_EQ(run_cohort({"serve", "--port", "notaport"}).exit_code, 2);
}

TEST(Cli, FailuresAreOneLineOnStandardErrorAndExitOne) {
  const CommandResult result = run_cohort({"tokenize", "/no/such/folder", "x"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_TRUE(result.err.starts_with("cohort: ")) << result.err;
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  EXPECT_NE(result.err.find("/no/such/folder"), std::string::npos) << result.err;
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(run_cohort({"ps", kNowhere[0], kNowhere[1]}).exit_code, 1);
}

TEST(Cli, TokenizeAndBack) {
  const CommandResult ids = run_cohort({"tokenize", "demo", "What is a lantern?", "--json"});
  ASSERT_EQ(ids.exit_code, 0) << ids.err;
  std::string numbers;
  const Json tokens = parse_json(ids.out).value();
  for (const Json& token : tokens) numbers += dump_json(token["id"]) + " ";
  const CommandResult text = run_cohort({"tokenize", "demo", "--decode", numbers});
  EXPECT_EQ(text.out, "What is a lantern?\n");
}

TEST(Cli, TemplateRendersAChatRequest) {
  const CommandResult result =
      run_cohort({"template", "demo", "-"}, R"({"messages":[{"role":"user","content":"hi"}]})");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");
}

TEST(Cli, VerifyPassesOnGoldenLogitsAndSaysHowClose) {
  for (const char* name : {"llama-q4", "deepseek_v3-q4", "gpt_oss-mxfp4q8"}) {
    const CommandResult result = run_cohort({"verify", kModels + name, "--json", "--chunk", "7"});
    EXPECT_EQ(result.exit_code, 0) << name << result.out << result.err;
    const Json report = parse_json(result.out).value();
    EXPECT_TRUE(report["pass"].get<bool>());
    EXPECT_LT(report["prefill"]["max_abs"].get<double>(), 1e-3);
  }
}

TEST(Cli, VerifyFailsWhenTheToleranceIsImpossible) {
  EXPECT_EQ(run_cohort({"verify", kModels + "llama-q4", "--tolerance", "1e-12"}).exit_code, 1);
}

TEST(Cli, LsListsTheBuiltInModelAndShowDescribesIt) {
  const CommandResult listed = run_cohort({"ls", "--json", "--offline"});
  EXPECT_EQ(listed.exit_code, 0) << listed.err;
  EXPECT_NE(listed.out.find("demo"), std::string::npos);
  const CommandResult shown = run_cohort({"show", "demo", "--json", "--offline"});
  EXPECT_EQ(shown.exit_code, 0) << shown.err;
  EXPECT_NE(shown.out.find("llama"), std::string::npos);
}

TEST(Cli, PsShowsAnInstanceAndStopEndsIt) {
  Device device;
  chat(device, chat_body("What is a lantern?", false));
  const CommandResult listed = run_cohort({"ps", "--json", "--api", device.url()});
  const Json instances = parse_json(listed.out).value();
  ASSERT_EQ(instances.size(), 1u);
  EXPECT_EQ(instances[0]["state"], "ready");
  EXPECT_EQ(run_cohort({"stop", "demo", "--api", device.url()}).exit_code, 0);
  EXPECT_EQ(parse_json(run_cohort({"ps", "--json", "--api", device.url()}).out).value().size(), 0u);
}

TEST(Cli, BenchReportsRatesBesideTheMeasuredLimit) {
  const CommandResult result =
      run_cohort({"bench", "demo", "--pp", "32", "--tg", "8", "--repeat", "2", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json report = parse_json(result.out).value().at(0);
  EXPECT_GT(report["decode_tokens_per_s"].get<double>(), 0);
  EXPECT_GT(report["read_limit_gb_per_s"].get<double>(), 0);
  EXPECT_EQ(report["samples"]["decode"].size(), 2u);
}

TEST(Cli, ATakenPortSaysByWhom) {
  Device device;
  const std::string port = device.url().substr(device.url().rfind(':') + 1);
  const CommandResult result = run_cohort({"serve", "--port", port});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.err.find(port), std::string::npos) << result.err;
  EXPECT_NE(result.err.find(std::to_string(device.pid())), std::string::npos) << result.err;
}

}  // namespace
}  // namespace cohort::e2e
