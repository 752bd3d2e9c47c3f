// Our Jinja against @huggingface/jinja. That one leaves out much of Jinja2 and differs from it in places (it prints
// containers as JSON, lets undefined values pass, does not scope blocks), so where the two differ Jinja2 itself, recorded
// in tests/data/jinja, has the last word.
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <sstream>

#include <gtest/gtest.h>

#include "text/chat_template.h"

namespace cohort::text {
namespace {

constexpr int64_t kNow = 1719835200;  // 2024-07-01 12:00 UTC

const Json& cases() {
  static const Json all = [] {
    std::ifstream in(COHORT_ORACLE_FILE, std::ios::binary);
    std::stringstream text;
    text << in.rdbuf();
    auto parsed = parse_json(text.str());
    return parsed ? *parsed : Json();
  }();
  return all;
}

Result<std::string> render(const Json& test) {
  const Json& variables = test["variables"];
  ChatTemplateInput input;
  input.extra = variables;
  input.messages = variables.value("messages", Json::array());
  input.tools = variables.value("tools", Json());
  input.add_generation_prompt = variables.value("add_generation_prompt", false);
  input.now_unix_seconds = kNow;
  ChatTemplateOptions options;
  options.bos_token = variables.value("bos_token", "");
  options.eos_token = variables.value("eos_token", "");
  COHORT_TRY(const ChatTemplate compiled,
             ChatTemplate::compile(test["template"].get<std::string>(), options));
  COHORT_TRY(const auto spans, compiled.render(input));
  std::string text;
  for (const TextSpan& span : spans) text += span.text;
  return text;
}

struct Tally {
  int same = 0, settled_by_jinja2 = 0;
};

// Every case of the group agrees with the package or, where that deviates, with Jinja2.
Tally compare_group(const std::string& group) {
  setenv("TZ", "UTC", 1);
  tzset();
  Tally tally;
  for (const Json& test : cases()) {
    if (test["group"] != group) continue;
    SCOPED_TRACE(test["name"].get<std::string>() + ": " +
                 test["template"].get<std::string>().substr(0, 200));
    const auto ours = render(test);
    const bool both_refuse = !ours && test.contains("error");
    if (both_refuse || (ours && test.value("text", Json()) == *ours)) {
      ++tally.same;
      continue;
    }
    ++tally.settled_by_jinja2;
    if (group == "real") {
      // The package lets undefined values and wrong types pass where Python stops.
      EXPECT_FALSE(ours) << "ours: " << *ours << "\ntheirs: " << test.dump();
    } else if (test.contains("expected")) {
      EXPECT_TRUE(ours) << (ours ? "" : ours.error().message);
      EXPECT_EQ(test["expected"].get<std::string>(), ours.value_or(""));
    } else {
      EXPECT_FALSE(ours) << "Jinja2 fails here, we do not: " << *ours;
    }
  }
  std::printf("%s: %d the same, %d settled by Jinja2\n", group.c_str(), tally.same,
              tally.settled_by_jinja2);
  return tally;
}

TEST(JinjaOracle, LanguageFeatures) { EXPECT_GE(compare_group("feature").same, 290); }

TEST(JinjaOracle, TemplatesInTheStyleOfEachFamily) { EXPECT_GE(compare_group("family").same, 115); }

TEST(JinjaOracle, RealTemplates) { EXPECT_GE(compare_group("real").same, 59); }

}  // namespace
}  // namespace cohort::text
