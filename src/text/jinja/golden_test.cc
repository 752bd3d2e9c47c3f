// What Python's Jinja2 renders, set up as transformers sets it up, is what we render: tests/data/jinja/make_expected.py.
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <sstream>

#include <gtest/gtest.h>

#include "text/chat_template.h"

namespace cohort::text {
namespace {

constexpr int64_t kNow = 1719835200;  // 2024-07-01 12:00 UTC

std::string read_file(const std::string& name) {
  std::ifstream in(std::string(COHORT_SOURCE_DIR) + "/tests/data/jinja/" + name, std::ios::binary);
  EXPECT_TRUE(in) << name;
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

Json read_json(const std::string& name) { return *parse_json(read_file(name)); }

Result<std::string> render(const std::string& source, const Json& variables) {
  ChatTemplateInput input;
  input.extra = variables;
  input.messages = variables.value("messages", Json::array());
  input.tools = variables.value("tools", Json());
  input.add_generation_prompt = variables.value("add_generation_prompt", false);
  input.now_unix_seconds = kNow;
  ChatTemplateOptions options;
  options.bos_token = variables.value("bos_token", "");
  options.eos_token = variables.value("eos_token", "");
  COHORT_TRY(const ChatTemplate compiled, ChatTemplate::compile(source, options));
  COHORT_TRY(const auto spans, compiled.render(input));
  std::string text;
  for (const TextSpan& span : spans) text += span.text;
  return text;
}

void expect_as_python(const Json& wanted, const Result<std::string>& got) {
  if (wanted.value("fails", false)) {
    EXPECT_FALSE(got) << "expected an error, got: " << *got;
  } else if (!got) {
    ADD_FAILURE() << got.error().message;
  } else {
    EXPECT_EQ(wanted["expected"].get<std::string>(), *got);
  }
}

class JinjaGolden : public testing::Test {
 protected:
  void SetUp() override {
    setenv("TZ", "UTC", 1);
    tzset();
  }
};

TEST_F(JinjaGolden, EveryFeatureRendersAsInPython) {
  const Json features = read_json("features.json");
  ASSERT_GT(features["cases"].size(), 600u);
  for (const Json& test : features["cases"]) {
    const std::string source = test["template"];
    SCOPED_TRACE(test["group"].get<std::string>() + ": " + source);
    expect_as_python(test, render(source, features["variables"]));
  }
}

TEST_F(JinjaGolden, TemplatesInTheStyleOfEachFamilyRenderAsInPython) {
  const Json talks = read_json("conversations.json"), expected = read_json("expected.json");
  ASSERT_GE(expected.size(), 144u);
  for (const Json& test : expected) {
    const std::string family = test["family"], conversation = test["conversation"];
    SCOPED_TRACE(family + " with " + conversation);
    Json variables = talks["shared"];
    variables.update(talks["conversations"][conversation]);
    expect_as_python(test, render(read_file("families/" + family + ".jinja"), variables));
  }
}

}  // namespace
}  // namespace cohort::text
