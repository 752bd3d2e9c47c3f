// The commands as people and scripts type them.
#include <gtest/gtest.h>

#include <map>

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

std::string chat_with_answer(const std::string& answer) {
  return run_cohort({"template", "demo", "-"},
                    R"({"messages":[{"role":"user","content":"What is a lantern?"}]})")
             .out +
         answer;
}

Json perplexity_of(const std::string& text, std::vector<std::string> flags) {
  std::vector<std::string> command = {"perplexity", "demo", "-", "--context", "20", "--json"};
  command.insert(command.end(), flags.begin(), flags.end());
  const CommandResult result = run_cohort(command, text);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  return parse_json(result.out).value();
}

TEST(Cli, PerplexityIsLowerForWhatAModelWouldSay) {
  const std::string own = run_cohort({"run", "demo", "What is a lantern?"}).out;
  const std::string other = run_cohort({"run", "demo", "What is a violin?"}).out;
  EXPECT_LT(perplexity_of(chat_with_answer(own), {})["perplexity"].get<double>(),
            perplexity_of(chat_with_answer(other), {})["perplexity"].get<double>());
}

TEST(Cli, PerplexityComparesAModelsArithmeticWithItsReference) {
  const std::string text = chat_with_answer("Light in a transparent protective case.");
  const Json same = perplexity_of(text, {"--math", "f32", "--against-math", "f32"});
  EXPECT_EQ(same["kl_max"].get<double>(), 0);
  const Json decode = perplexity_of(text, {"--chunk", "1", "--against-math", "f32"});
  EXPECT_GT(decode["kl_mean"].get<double>(), 0);
  EXPECT_LT(decode["kl_mean"].get<double>(), 0.02);
  const Json narrow =
      perplexity_of(text, {"--chunk", "1", "--kv-type", "q8", "--against-math", "f32"});
  EXPECT_NE(narrow["kl_mean"].get<double>(), decode["kl_mean"].get<double>());
  EXPECT_LT(narrow["kl_mean"].get<double>(), 0.02);
}

TEST(Cli, PerplexityNeedsAWindowOfText) {
  const CommandResult result = run_cohort({"perplexity", "demo", "-"}, "too short");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.err.find("--context"), std::string::npos) << result.err;
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

TEST(Cli, AReaderOfMemoryThatIsLatePrintsTheReadingsItHas) {
  const CommandResult late = run_cohort({"read-memory", "--threads", "1", "--windows", "1,2"});
  EXPECT_EQ(late.exit_code, 0) << late.err;
  EXPECT_TRUE(parse_json(late.out).value().at("read_gb_per_s").empty()) << late.out;
}

TEST(Cli, ATakenPortSaysByWhom) {
  Device device;
  const std::string port = device.url().substr(device.url().rfind(':') + 1);
  const CommandResult result = run_cohort({"serve", "--port", port});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.err.find(port), std::string::npos) << result.err;
  EXPECT_NE(result.err.find(std::to_string(device.pid())), std::string::npos) << result.err;
}

// The doctor's findings by check; fails the test when one has no known state, or a problem without a remedy.
std::map<std::string, Json> findings_of(const CommandResult& result) {
  std::map<std::string, Json> findings;
  bool failed = false;
  const Json listed = parse_json(result.out).value();
  for (const Json& finding : listed) {
    const std::string state = finding["state"];
    EXPECT_TRUE(state == "ok" || state == "warning" || state == "failed") << finding.dump();
    EXPECT_NE(finding["seen"], "");
    EXPECT_TRUE(state == "ok" || finding["remedy"].is_string()) << finding.dump();
    failed = failed || state == "failed";
    findings[finding["check"]] = finding;
  }
  EXPECT_EQ(result.exit_code, failed ? 1 : 0);
  return findings;
}

TEST(Cli, TheDoctorExaminesAMachineWithoutADevice) {
  const auto findings = findings_of(run_cohort({"doctor", "--json", kNowhere[0], kNowhere[1]}));
  for (const char* check : {"device", "secret", "clock", "memory", "memlock", "instructions",
                            "disk", "backends", "api port", "mesh port", "firewall"})
    EXPECT_TRUE(findings.contains(check)) << check;
  EXPECT_EQ(findings.at("device")["state"], "warning");
  EXPECT_FALSE(findings.contains("peers"));
  const auto heard = findings.lower_bound("multicast lo");  // lo, or lo0
  ASSERT_NE(heard, findings.end());
  EXPECT_TRUE(heard->first.starts_with("multicast lo")) << heard->first;
  EXPECT_NE(heard->second["seen"].get<std::string>().find("IPv4"), std::string::npos);
}

TEST(Cli, TheDoctorFindsTheRunningDevice) {
  Device device;
  const auto findings = findings_of(run_cohort({"doctor", "--json", "--api", device.url()}));
  EXPECT_EQ(findings.at("device")["state"], "ok");
  EXPECT_TRUE(findings.contains("peers"));
}

TEST(Cli, TheDoctorFailsOnAFolderThatCannotBeWritten) {
  const CommandResult result =
      run_cohort({"doctor", "--json", "--data-dir", "/dev/null/models", kNowhere[0], kNowhere[1]});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(findings_of(result).at("disk")["state"], "failed");
  const CommandResult text =
      run_cohort({"doctor", "--data-dir", "/dev/null/models", kNowhere[0], kNowhere[1]});
  EXPECT_EQ(text.exit_code, 1);
  EXPECT_NE(text.out.find("failed   disk"), std::string::npos) << text.out;
  EXPECT_NE(text.out.find("-> give it to this user"), std::string::npos) << text.out;
  EXPECT_EQ(text.out.find('\033'), std::string::npos);  // no colour off a terminal
}

TEST(Cli, TopPrintsOneFrameOffATerminal) {
  Device device;
  const CommandResult empty = run_cohort({"top", "--once", "--api", device.url()});
  EXPECT_EQ(empty.exit_code, 0) << empty.err;
  EXPECT_TRUE(empty.out.starts_with("cohort: 1 of 1 devices alive, 0 instances, 0 requests\n"))
      << empty.out;
  EXPECT_NE(empty.out.find("(this)"), std::string::npos);
  chat(device, chat_body("What is a lantern?", false));
  const CommandResult busy = run_cohort({"top", "--api", device.url()});
  EXPECT_EQ(busy.exit_code, 0) << busy.err;
  EXPECT_NE(busy.out.find("demo   ready  single:"), std::string::npos) << busy.out;
  EXPECT_EQ(busy.out.find('\033'), std::string::npos);
  const Json both = parse_json(run_cohort({"top", "--json", "--api", device.url()}).out).value();
  EXPECT_EQ(both["devices"].size(), 1u);
  EXPECT_EQ(both["instances"][0]["model"], "demo");
  EXPECT_EQ(run_cohort({"top", "--once", kNowhere[0], kNowhere[1]}).exit_code, 1);
}

TEST(Cli, ExoClientsPlaceWaitForAndEndAnInstanceOfTheRealModel) {
  Device device;
  net::HttpClient client = device.client();
  const auto placed = client.call({.method = "POST",
                                   .path = "/place_instance",
                                   .body = R"({"model_id":"demo","min_nodes":1})"});
  ASSERT_TRUE(placed) << placed.error().message;
  ASSERT_EQ(placed->status, 200) << placed->body;
  const auto awaited = client.call({.path = "/instance/await?model_id=demo&timeout_seconds=120"});
  ASSERT_TRUE(awaited) << awaited.error().message;
  EXPECT_NE(awaited->body.find(R"("type":"ready")"), std::string::npos) << awaited->body;
  const std::string id = parse_json(placed->body).value()["instance_id"];
  EXPECT_EQ(client.call({.method = "DELETE", .path = "/instance/" + id})->status, 200);
  EXPECT_EQ(client.call({.path = "/state/instances/" + id})->status, 404);
}

}  // namespace
}  // namespace cohort::e2e
