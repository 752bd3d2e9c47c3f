// The daemon over real sockets, with the fake runner behind it.
#include <gtest/gtest.h>

#include <signal.h>

#include <fstream>
#include <future>
#include <thread>

#include "api/exo.h"
#include "api/guard.h"
#include "api/serve.h"
#include "base/log.h"
#include "net/http_client.h"
#include "net/testing/raw_client.h"
#include "node/testing/fake_catalog.h"

namespace cohort::api {
namespace {

using net::testing::RawClient;
using std::chrono::milliseconds;
using std::chrono::seconds;

Json chat_body(const std::string& prompt, const std::string& model = "echo") {
  return Json{{"model", model},
              {"messages", Json::array({Json{{"role", "user"}, {"content", prompt}}})}};
}

class ApiTest : public ::testing::Test {
 public:
  ApiTest() {
    log::configure(log::Level::kOff, log::Format::kText, "test");
    options_.port = 0;
    options_.node.runner_command = {COHORT_FAKE_RUNNER};
    options_.node.restart.first_delay = milliseconds(1);
    options_.drain_timeout = milliseconds(0);
  }

  void start() {
    std::promise<void> ready;
    options_.on_listening = [&](uint16_t) { ready.set_value(); };
    // The runner's life hangs on the thread that starts it: the daemon is made and run on one.
    thread_ = std::thread([&] {
      auto made = Daemon::create(options_, node::testing::fake_catalog());
      ASSERT_TRUE(made) << made.error().message;
      daemon_ = std::move(*made);
      daemon_->run(false);
    });
    ready.get_future().wait();
    client_.emplace(
        net::HttpClientOptions{.base_url = fmt::format("http://127.0.0.1:{}", daemon_->port())});
  }

  void TearDown() override {
    if (!thread_.joinable()) return;
    daemon_->stop();
    thread_.join();
  }

  net::HttpReply call(const std::string& method, const std::string& path,
                      const std::string& body = "", std::vector<net::Header> headers = {}) {
    if (!daemon_) start();
    auto reply = client_->call(
        {.method = method, .path = path, .body = body, .headers = std::move(headers)});
    EXPECT_TRUE(reply) << reply.error().message;
    return reply ? *reply : net::HttpReply{};
  }
  net::HttpReply post(const std::string& path, const Json& body) {
    return call("POST", path, dump_json(body));
  }
  net::HttpReply chat(const Json& body) { return post("/v1/chat/completions", body); }

  static Json parsed(const net::HttpReply& reply) {
    return parse_json(reply.body).value_or(Json());
  }

  struct Stream {
    std::vector<Json> events;
    std::vector<std::string> others;  // comments and [DONE]
    std::string text;
  };
  Stream stream(const std::string& path, Json body) {
    if (!daemon_) start();
    body["stream"] = true;
    Stream out;
    const auto reply = client_->stream_lines(
        {.method = "POST", .path = path, .body = dump_json(body)}, [&](std::string_view line) {
          if (line.starts_with("data: {")) {
            out.events.push_back(parse_json(line.substr(6)).value());
          } else if (!line.empty()) {
            out.others.emplace_back(line);
          }
          return true;
        });
    EXPECT_TRUE(reply) << reply.error().message;
    for (const Json& event : out.events) {
      if (!event.contains("choices") || event["choices"].empty()) continue;
      const Json& choice = event["choices"][0];
      out.text += choice.contains("text") ? choice["text"].get<std::string>()
                                          : choice["delta"].value("content", "");
    }
    return out;
  }

  Json only_instance() {
    const Json all = parsed(call("GET", "/cohort/instances"));
    return all.size() == 1 ? all[0] : Json();
  }
  // What a runner reports comes a moment later; each look is a request of its own.
  bool eventually(const std::function<bool()>& condition) {
    const auto deadline = std::chrono::steady_clock::now() + seconds(30);
    while (std::chrono::steady_clock::now() < deadline) {
      if (condition()) return true;
    }
    return false;
  }
  bool eventually_running(int count) {
    return eventually([&] {
      const Json instance = only_instance();
      return instance.is_object() && instance["running"] == count;
    });
  }

  ServeOptions options_;
  std::unique_ptr<Daemon> daemon_;
  std::thread thread_;
  std::optional<net::HttpClient> client_;
};

TEST_F(ApiTest, AChatReplyHasOpenAisShape) {
  const auto reply = chat(chat_body("say one two"));
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(*reply.header("content-type"), "application/json");
  const Json json = parsed(reply);
  EXPECT_TRUE(json["id"].get<std::string>().starts_with("chatcmpl-"));
  EXPECT_EQ(json["object"], "chat.completion");
  EXPECT_GT(json["created"].get<int64_t>(), 1'700'000'000);
  EXPECT_EQ(json["model"], "echo");
  ASSERT_EQ(json["choices"].size(), 1u);
  const Json choice = json["choices"][0];
  EXPECT_EQ(choice["index"], 0);
  EXPECT_EQ(choice["message"]["role"], "assistant");
  EXPECT_EQ(choice["message"]["content"], "one two");
  EXPECT_EQ(choice["finish_reason"], "stop");
  EXPECT_TRUE(choice["logprobs"].is_null());
  EXPECT_EQ(json["usage"]["prompt_tokens"], 5);
  EXPECT_EQ(json["usage"]["completion_tokens"], 2);
  EXPECT_EQ(json["usage"]["total_tokens"], 7);
  EXPECT_EQ(json["usage"]["prompt_tokens_details"]["cached_tokens"], 2);
}

TEST_F(ApiTest, AChatStreamGivesTheRoleThenTextThenTheReasonThenUsage) {
  Json body = chat_body("say one two");
  body["stream_options"] = Json{{"include_usage", true}};
  const Stream out = stream("/v1/chat/completions", body);
  EXPECT_EQ(out.text, "one two");
  ASSERT_EQ(out.events.size(), 5u);
  for (const Json& event : out.events) {
    EXPECT_EQ(event["object"], "chat.completion.chunk");
    EXPECT_EQ(event["id"], out.events[0]["id"]);
  }
  EXPECT_EQ(out.events[0]["choices"][0]["delta"], (Json{{"role", "assistant"}, {"content", ""}}));
  EXPECT_TRUE(out.events[0]["choices"][0]["finish_reason"].is_null());
  EXPECT_TRUE(out.events[0]["usage"].is_null());
  EXPECT_EQ(dump_json(out.events[1]["choices"][0]["delta"]), R"({"content":"one"})");
  EXPECT_EQ(out.events[3]["choices"][0]["delta"], Json::object());
  EXPECT_EQ(out.events[3]["choices"][0]["finish_reason"], "stop");
  EXPECT_TRUE(out.events[4]["choices"].empty());
  EXPECT_EQ(out.events[4]["usage"]["completion_tokens"], 2);
  EXPECT_EQ(out.others, std::vector<std::string>{"data: [DONE]"});
}

TEST_F(ApiTest, UsageIsLeftOutOfAStreamThatDidNotAskForIt) {
  const Stream out = stream("/v1/chat/completions", chat_body("say one"));
  for (const Json& event : out.events) EXPECT_FALSE(event.contains("usage"));
}

TEST_F(ApiTest, SeveralChoicesAreNumberedAndTheirPromptCountsOnce) {
  Json body = chat_body("seed");
  body["n"] = 3;
  body["seed"] = 40;
  const Json json = parsed(chat(body));
  ASSERT_EQ(json["choices"].size(), 3u);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(json["choices"][i]["index"], i);
    EXPECT_EQ(json["choices"][i]["message"]["content"], fmt::format("seed {}", 40 + i));
  }
  EXPECT_EQ(json["usage"]["prompt_tokens"], 5);
  EXPECT_EQ(json["usage"]["completion_tokens"], 6);
}

TEST_F(ApiTest, LogprobsComeWithBytesAndAlternatives) {
  Json body = chat_body("say one");
  body["logprobs"] = true;
  body["top_logprobs"] = 2;
  const Json collected = parsed(chat(body));
  const Json entry = collected["choices"][0]["logprobs"]["content"][0];
  EXPECT_EQ(entry["token"], "one");
  EXPECT_EQ(entry["logprob"], -0.5);
  EXPECT_EQ(entry["bytes"], (Json{111, 110, 101}));
  EXPECT_EQ(entry["top_logprobs"].size(), 2u);
  const Stream streamed = stream("/v1/chat/completions", body);
  EXPECT_EQ(streamed.events[1]["choices"][0]["logprobs"]["content"][0], entry);
}

TEST_F(ApiTest, TextCompletionsTakeAStringTokensOrSeveralOfThem) {
  EXPECT_EQ(parsed(post("/v1/completions",
                        {{"model", "echo"}, {"prompt", "say a b"}}))["choices"][0]["text"],
            "a b");
  EXPECT_EQ(parsed(post("/v1/completions",
                        {{"model", "echo"}, {"prompt", {7, 8, 9}}}))["choices"][0]["text"],
            "3");
  const Json many = parsed(
      post("/v1/completions", {{"model", "echo"}, {"n", 2}, {"prompt", {"say a", "say b"}}}));
  ASSERT_EQ(many["choices"].size(), 4u);
  EXPECT_EQ(many["object"], "text_completion");
  const std::vector<std::string> texts = {"a", "a", "b", "b"};
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(many["choices"][i]["index"], i);
    EXPECT_EQ(many["choices"][i]["text"], texts[i]);
  }
  EXPECT_EQ(many["usage"]["prompt_tokens"], 10);
}

TEST_F(ApiTest, TextCompletionsEchoStreamAndGiveLogprobs) {
  const Json body{{"model", "echo"}, {"prompt", "say a b"}, {"echo", true}, {"logprobs", 1}};
  const Json json = parsed(post("/v1/completions", body));
  EXPECT_EQ(json["choices"][0]["text"], "say a ba b");
  const Json logprobs = json["choices"][0]["logprobs"];
  EXPECT_EQ(logprobs["tokens"], (Json{"a", "b"}));
  EXPECT_EQ(logprobs["text_offset"], (Json{0, 1}));
  EXPECT_EQ(logprobs["top_logprobs"][0]["a"], -0.5);
  const Stream out = stream("/v1/completions", {{"model", "echo"}, {"prompt", "say a b"}});
  EXPECT_EQ(out.text, "a b");
  EXPECT_EQ(out.events.back()["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(out.others, std::vector<std::string>{"data: [DONE]"});
}

TEST_F(ApiTest, MaxTokensUnderBothNamesAndTheOldDefault) {
  Json body = chat_body("say a b c d");
  body["max_tokens"] = 3;
  body["max_completion_tokens"] = 2;
  const Json json = parsed(chat(body));
  EXPECT_EQ(json["choices"][0]["message"]["content"], "a b");
  EXPECT_EQ(json["choices"][0]["finish_reason"], "length");
  std::string words = "say";
  for (int i = 0; i < 20; ++i) words += " x";
  const Json old = parsed(post("/v1/completions", {{"model", "echo"}, {"prompt", words}}));
  EXPECT_EQ(old["usage"]["completion_tokens"], 16);
}

TEST_F(ApiTest, MalformedDeepAndHugeBodiesAre4xxAndTheDeviceLivesOn) {
  start();
  EXPECT_EQ(call("POST", "/v1/chat/completions", "{\"model\":").status, 400);
  EXPECT_EQ(call("POST", "/v1/chat/completions", "").status, 400);
  EXPECT_EQ(call("POST", "/v1/chat/completions", std::string(100'000, '[')).status, 400);
  EXPECT_EQ(call("POST", "/v1/chat/completions", "[]").status, 422);
  const std::string many =
      "{\"model\":\"echo\",\"messages\":[" + std::string(20'000'000, ',') + "]}";
  EXPECT_EQ(call("POST", "/v1/chat/completions", many).status, 400);
  std::string wide = "[0";
  for (int i = 0; i < 10'000'000; ++i) wide += ",0";
  EXPECT_EQ(call("POST", "/v1/chat/completions", wide + "]").status, 400);
  EXPECT_EQ(call("POST", "/v1/chat/completions", std::string((32 << 20) + 1, ' ')).status, 413);
  EXPECT_EQ(chat(chat_body("say fine")).status, 200);
}

struct WrongField {
  const char* name;
  const char* json;
  const char* param;
};

class WrongFields : public ApiTest, public ::testing::WithParamInterface<WrongField> {};

TEST_P(WrongFields, AreRefusedWithTheirPath) {
  Json body = chat_body("say x");
  body.merge_patch(parse_json(GetParam().json).value());
  const auto reply = chat(body);
  EXPECT_EQ(reply.status, 422) << reply.body;
  const Json error = parsed(reply)["error"];
  EXPECT_EQ(error["param"], GetParam().param) << reply.body;
  EXPECT_EQ(error["type"], "invalid_request_error");
}

INSTANTIATE_TEST_SUITE_P(
    Api, WrongFields,
    ::testing::Values(
        WrongField{"Model", R"({"model": 7})", "model"},
        WrongField{"EmptyModel", R"({"model": ""})", "model"},
        WrongField{"Temperature", R"({"temperature": "hot"})", "temperature"},
        WrongField{"ColdTemperature", R"({"temperature": -0.1})", "temperature"},
        WrongField{"TopP", R"({"top_p": 1.5})", "top_p"},
        WrongField{"MaxTokens", R"({"max_tokens": 0})", "max_tokens"},
        WrongField{"FractionOfATo", R"({"max_tokens": 1.5})", "max_tokens"},
        WrongField{"N", R"({"n": 1000})", "n"}, WrongField{"Seed", R"({"seed": []})", "seed"},
        WrongField{"Stop", R"({"stop": ["a", 1]})", "stop[1]"},
        WrongField{
            "ManyStops",
            R"({"stop": ["1","2","3","4","5","6","7","8","9","a","b","c","d","e","f","g","h"]})",
            "stop"},
        WrongField{"EmptyStop", R"({"stop": [""]})", "stop[0]"},
        WrongField{"LogitBias", R"({"logit_bias": {"1": 101}})", "logit_bias.1"},
        WrongField{"LogitBiasKey", R"({"logit_bias": {"word": 1}})", "logit_bias.word"},
        WrongField{"StreamOptions", R"({"stream_options": {"include_usage": 1}})",
                   "stream_options.include_usage"},
        WrongField{"TopLogprobs", R"({"logprobs": true, "top_logprobs": 21})", "top_logprobs"},
        WrongField{"TopLogprobsAlone", R"({"top_logprobs": 2})", "top_logprobs"},
        WrongField{"NoMessages", R"({"messages": []})", "messages"},
        WrongField{"MessagesOfText", R"({"messages": "hi"})", "messages"},
        WrongField{"MessageOfText", R"({"messages": ["hi"]})", "messages[0]"},
        WrongField{"Role", R"({"messages": [{"role": "king", "content": ""}]})",
                   "messages[0].role"},
        WrongField{"NoRole", R"({"messages": [{"content": "x"}]})", "messages[0].role"},
        WrongField{"Content", R"({"messages": [{"role": "user", "content": 7}]})",
                   "messages[0].content"},
        WrongField{"NoContent", R"({"messages": [{"role": "user"}]})", "messages[0].content"},
        WrongField{"Part",
                   R"({"messages": [{"role": "user", "content": [{"type": "text", "text": 7}]}]})",
                   "messages[0].content[0].text"},
        WrongField{"Tools", R"({"tools": [{"type": "function"}]})", "tools[0].function.name"},
        WrongField{"ToolChoice", R"({"tool_choice": "required"})", "tool_choice"},
        WrongField{"Format", R"({"response_format": {"type": "json_object"}})",
                   "response_format.type"},
        WrongField{"TemplateArguments", R"({"chat_template_kwargs": []})", "chat_template_kwargs"}),
    [](const auto& tried) { return std::string(tried.param.name); });

TEST_F(ApiTest, UnknownFieldsAndNullsAreAccepted) {
  Json body = chat_body("say fine");
  body["user"] = "me";
  body["parallel_tool_calls"] = false;
  body["something_new"] = Json{{"deep", {1, 2}}};
  body["stop"] = nullptr;
  body["temperature"] = nullptr;
  body["tools"] = Json::array();
  body["response_format"] = Json{{"type", "text"}};
  body["top_k"] = -1;
  EXPECT_EQ(parsed(chat(body))["choices"][0]["message"]["content"], "fine");
}

TEST_F(ApiTest, PartsBecomeTextAndAnImageIsRefusedClearly) {
  Json body = chat_body("");
  body["messages"][0]["content"] =
      parse_json(R"([{"type":"text","text":"say one"},{"type":"text","text":"two"}])").value();
  EXPECT_EQ(parsed(chat(body))["choices"][0]["message"]["content"], "one two");
  body["messages"][0]["content"].push_back(
      parse_json(R"({"type":"image_url","image_url":{"url":"data:"}})").value());
  const auto reply = chat(body);
  EXPECT_EQ(reply.status, 400);
  EXPECT_NE(parsed(reply)["error"]["message"].get<std::string>().find("image_url"),
            std::string::npos);
}

TEST_F(ApiTest, AnErrorBeforeTheFirstByteHasItsStatusAlsoForAStream) {
  Json body = chat_body("say x", "unknown-model");
  body["stream"] = true;
  const auto unknown = chat(body);
  EXPECT_EQ(unknown.status, 404);
  EXPECT_EQ(parsed(unknown)["error"]["code"], "not_found");
  const auto huge = chat(chat_body("say x", "huge"));
  EXPECT_EQ(huge.status, 503);
  EXPECT_NE(huge.body.find("missing"), std::string::npos);
  const auto refused =
      chat(chat_body("fail invalid_argument the prompt has 9000 tokens, the context 4096"));
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(parsed(refused)["error"]["message"], "the prompt has 9000 tokens, the context 4096");
}

TEST_F(ApiTest, AnErrorInMidStreamIsAnEventAndTheStreamEndsProperly) {
  start();
  std::string last_event, end;
  std::promise<void> begun;
  bool has_begun = false;
  std::thread reader([&] {
    net::HttpClient client({.base_url = client_->options().base_url});
    Json body = chat_body("forever");
    body["stream"] = true;
    const auto reply = client.stream_lines(
        {.method = "POST", .path = "/v1/chat/completions", .body = dump_json(body)},
        [&](std::string_view line) {
          if (line.starts_with("data: {")) last_event = line.substr(6);
          if (line == "data: [DONE]") end = line;
          const bool has_token = line.find("\"content\"") != std::string_view::npos;
          if (has_token && !std::exchange(has_begun, true)) begun.set_value();
          return true;
        });
    EXPECT_TRUE(reply) << reply.error().message;
  });
  begun.get_future().wait();
  EXPECT_EQ(call("DELETE", "/cohort/instances/echo").status, 200);
  reader.join();
  const Result<Json> event = parse_json(last_event);
  ASSERT_TRUE(event && event->contains("error")) << last_event;
  EXPECT_EQ((*event)["error"]["message"], "the instance was stopped");
  EXPECT_EQ(end, "data: [DONE]");
}

TEST_F(ApiTest, AStreamThatWaitsIsKeptAlive) {
  options_.keep_alive = milliseconds(5);
  start();
  RawClient client(daemon_->port());
  Json body = chat_body("stall");
  body["stream"] = true;
  const std::string text = dump_json(body);
  client.send(fmt::format(
      "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{}",
      text.size(), text));
  EXPECT_NE(client.read_until("\r\n\r\n").find("200 OK"), std::string::npos);
  client.read_until(": keep-alive\n\n");
  client.read_until(": keep-alive\n\n");
}

TEST_F(ApiTest, ACrashIsInvisibleInAStream) {
  const Stream out = stream("/v1/chat/completions", chat_body("crash 2 say one two three"));
  EXPECT_EQ(out.text, "one two three");
  EXPECT_EQ(only_instance()["heals"], 1);
}

TEST_F(ApiTest, AVanishingClientFreesItsPlaceStreamedOrNot) {
  start();
  for (const bool streamed : {true, false}) {
    RawClient client(daemon_->port());
    Json body = chat_body("forever");
    body["stream"] = streamed;
    const std::string text = dump_json(body);
    client.send(fmt::format(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{}",
        text.size(), text));
    EXPECT_TRUE(eventually_running(1));
    client.close();
    EXPECT_TRUE(eventually_running(0));
  }
}

TEST_F(ApiTest, AFullQueueIs429WithRetryAfterAndLosesNobody) {
  options_.node.load.max_sequences = 4;
  options_.node.load.max_queued = 8;
  start();
  std::vector<std::unique_ptr<RawClient>> waiting;
  const std::string text = dump_json(chat_body("stall"));
  const std::string request = fmt::format(
      "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{}",
      text.size(), text);
  for (int i = 0; i < 12; ++i) {
    waiting.push_back(std::make_unique<RawClient>(daemon_->port()));
    waiting.back()->send(request);
  }
  EXPECT_TRUE(eventually_running(12));
  const auto refused = chat(chat_body("say x"));
  EXPECT_EQ(refused.status, 429);
  ASSERT_NE(refused.header("Retry-After"), nullptr);
  EXPECT_EQ(only_instance()["requests"], 12);
  waiting.pop_back();
  EXPECT_TRUE(eventually([&] { return chat(chat_body("say x")).status == 200; }));
}

TEST_F(ApiTest, EveryOneOf256ConcurrentRequestsIsAnswered) {
  start();
  std::vector<std::unique_ptr<RawClient>> clients;
  for (int i = 0; i < 256; ++i) {
    clients.push_back(std::make_unique<RawClient>(daemon_->port()));
    const std::string text = dump_json(chat_body(fmt::format("say {}", i)));
    clients.back()->send(fmt::format(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{}",
        text.size(), text));
  }
  for (int i = 0; i < 256; ++i) {
    const auto reply = clients[i]->read_response();
    EXPECT_EQ(reply.status, 200) << reply.body;
    EXPECT_EQ(parse_json(reply.body).value()["choices"][0]["message"]["content"],
              std::to_string(i));
  }
}

TEST_F(ApiTest, ModelsAreListedAndShown) {
  const Json list = parsed(call("GET", "/v1/models"));
  EXPECT_EQ(list["object"], "list");
  EXPECT_EQ(list["data"][0]["id"], "echo");
  EXPECT_EQ(list["data"][0]["object"], "model");
  EXPECT_EQ(parsed(call("GET", "/v1/models/echo"))["id"], "echo");
  EXPECT_EQ(call("GET", "/v1/models/org%2Fnone").status, 404);
  chat(chat_body("say x", "echo:org/placed"));
  EXPECT_EQ(parsed(call("GET", "/v1/models/echo:org/placed"))["id"], "echo:org/placed");
}

TEST_F(ApiTest, InstancesArePlacedListedAndStopped) {
  const auto placed =
      post("/cohort/instances", {{"model", "echo"}, {"wait", true}, {"concurrency", 2}});
  EXPECT_EQ(placed.status, 200) << placed.body;
  const Json instance = only_instance();
  EXPECT_EQ(instance["state"], "ready");
  EXPECT_EQ(instance["model"], "echo");
  ASSERT_EQ(instance["members"].size(), 1u);
  const Json device = parsed(call("GET", "/cohort/devices"))[0];
  EXPECT_EQ(instance["members"][0]["device"], device["id"]);
  EXPECT_TRUE(device["self"].get<bool>());
  EXPECT_GT(device["memory_total_bytes"].get<uint64_t>(), 0u);
  EXPECT_EQ(call("DELETE", "/cohort/instances/" + instance["instance"].get<std::string>()).status,
            200);
  EXPECT_EQ(parsed(call("GET", "/cohort/instances")).size(), 0u);
  EXPECT_EQ(call("DELETE", "/cohort/instances/echo").status, 404);
  EXPECT_EQ(post("/cohort/instances", {{"model", "unknown-model"}}).status, 404);
  EXPECT_EQ(post("/cohort/instances", {{"model", 7}}).status, 422);
}

TEST_F(ApiTest, AFailedInstanceShowsItsReason) {
  const auto reply = post("/cohort/instances", {{"model", "fail-on-load"}, {"wait", true}});
  EXPECT_EQ(reply.status, 503);
  EXPECT_EQ(only_instance()["state"], "failed");
  EXPECT_EQ(only_instance()["reason"], "the weights are 3 GiB too large");
}

TEST_F(ApiTest, ProbesTellLifeFromReadiness) {
  EXPECT_EQ(call("GET", "/healthz").status, 200);
  EXPECT_EQ(call("GET", "/readyz").status, 503);
  chat(chat_body("say x"));
  EXPECT_EQ(call("GET", "/readyz").status, 200);
  const auto metrics = call("GET", "/metrics");
  EXPECT_NE(metrics.body.find("cohort_requests{model=\"echo\""), std::string::npos) << metrics.body;
}

TEST_F(ApiTest, WrongPathsAndMethodsAreToldApart) {
  EXPECT_EQ(call("GET", "/v2/nothing").status, 404);
  const auto wrong = call("GET", "/v1/chat/completions");
  EXPECT_EQ(wrong.status, 405);
  EXPECT_EQ(*wrong.header("Allow"), "POST");
  EXPECT_EQ(call("HEAD", "/healthz").status, 200);
}

TEST_F(ApiTest, AKeyIsNeededUnderEitherHeaderButNotForProbes) {
  options_.api_keys = {"first", "second"};
  EXPECT_EQ(call("GET", "/healthz").status, 200);
  const auto none = call("GET", "/v1/models");
  EXPECT_EQ(none.status, 401);
  EXPECT_EQ(parsed(none)["error"]["type"], "authentication_error");
  EXPECT_EQ(call("GET", "/v1/models", "", {{"Authorization", "Bearer secon"}}).status, 401);
  EXPECT_EQ(call("GET", "/v1/models", "", {{"Authorization", "Bearer "}}).status, 401);
  EXPECT_EQ(call("GET", "/v1/models", "", {{"Authorization", "bearer second"}}).status, 200);
  EXPECT_EQ(call("GET", "/v1/models", "", {{"x-api-key", "first"}}).status, 200);
}

TEST_F(ApiTest, OnLoopbackAnotherNameForThisMachineIsRefused) {
  EXPECT_EQ(call("GET", "/v1/models", "", {{"Host", "evil.example"}}).status, 403);
  EXPECT_EQ(call("GET", "/v1/models", "", {{"Host", "localhost.evil.example:52415"}}).status, 403);
  for (const char* host :
       {"localhost:52415", "127.0.0.1", "[::1]:52415", "LOCALHOST", "me.localhost:1"}) {
    EXPECT_EQ(call("GET", "/v1/models", "", {{"Host", host}}).status, 200) << host;
  }
}

TEST_F(ApiTest, PagesOfOtherSitesNeedLeave) {
  options_.cors_origins = {"https://good.example"};
  EXPECT_EQ(call("POST", "/v1/chat/completions", "{}", {{"Origin", "https://evil.example"}}).status,
            403);
  const auto good = call("GET", "/v1/models", "", {{"Origin", "https://good.example"}});
  EXPECT_EQ(good.status, 200);
  EXPECT_EQ(*good.header("Access-Control-Allow-Origin"), "https://good.example");
  EXPECT_EQ(
      call("OPTIONS", "/v1/chat/completions", "", {{"Origin", "https://good.example"}}).status,
      204);
  const std::string own = fmt::format("http://127.0.0.1:{}", daemon_->port());
  const auto same = call("GET", "/v1/models", "", {{"Origin", own}});
  EXPECT_EQ(same.status, 200);
}

TEST_F(ApiTest, AnAnswerThatTakesTooLongIsCutOffWhenThatIsAskedFor) {
  options_.request_timeout = milliseconds(200);
  const auto reply = chat(chat_body("forever"));
  EXPECT_EQ(reply.status, 504);
  EXPECT_TRUE(eventually_running(0));
}

TEST_F(ApiTest, StoppingLetsRunningAnswersFinish) {
  options_.drain_timeout = seconds(30);
  start();
  chat(chat_body("say warm"));
  std::thread asker([&] {
    net::HttpClient client({.base_url = client_->options().base_url});
    Json body = chat_body("flood 2000");
    const auto reply =
        client.call({.method = "POST", .path = "/v1/chat/completions", .body = dump_json(body)});
    ASSERT_TRUE(reply) << reply.error().message;
    EXPECT_EQ(reply->status, 200);
    EXPECT_EQ(parsed(*reply)["usage"]["completion_tokens"], 2000);
  });
  // The node's own count: what the runner reports may still be of the first request.
  EXPECT_TRUE(eventually([&] { return only_instance()["requests"] == 1; }));
  daemon_->stop();
  asker.join();
  thread_.join();
}

TEST_F(ApiTest, ATakenPortSaysByWhom) {
  start();
  ServeOptions second = options_;
  second.port = daemon_->port();
  const auto made = Daemon::create(second, node::testing::fake_catalog());
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, Code::kUnavailable);
  EXPECT_NE(made.error().message.find("(api_test)"), std::string::npos) << made.error().message;
}

// --- EXO's API

Json exo_order(const std::string& model) {
  return Json{{"model_id", model},
              {"sharding", "Pipeline"},
              {"instance_meta", "MlxRing"},
              {"min_nodes", 1}};
}

// An error as EXO tells it: the status is in the body, too.
void expect_exo_error(const net::HttpReply& reply, int status, const std::string& part) {
  EXPECT_EQ(reply.status, status) << reply.body;
  const Json error = parse_json(reply.body).value()["error"];
  EXPECT_EQ(error["code"], status);
  EXPECT_EQ(error["type"], net::reason_phrase(status));
  EXPECT_TRUE(error["param"].is_null());
  EXPECT_NE(error["message"].get<std::string>().find(part), std::string::npos) << reply.body;
}

TEST_F(ApiTest, ExoPlacesShowsAndRemovesAnInstance) {
  const auto placed = post("/place_instance", exo_order("echo-alias"));
  ASSERT_EQ(placed.status, 200) << placed.body;
  const Json reply = parsed(placed);
  EXPECT_EQ(reply["message"], "Command received.");
  EXPECT_EQ(reply["command_id"].get<std::string>().size(), 36u);
  EXPECT_EQ(reply["model_card"]["modelId"], "echo");
  EXPECT_EQ(reply["model_card"]["nLayers"], 4);
  EXPECT_EQ(reply["model_card"]["storageSize"]["inBytes"], 4000);
  const std::string id = only_instance()["instance"];
  const std::string node = parsed(call("GET", "/node_id"));
  EXPECT_EQ(node.size(), 32u);
  const Json shown = parsed(call("GET", "/instance/" + id))["MlxRingInstance"];
  EXPECT_EQ(shown["instanceId"], id);
  const Json assignments = shown["shardAssignments"];
  EXPECT_EQ(assignments["modelId"], "echo");
  const std::string runner = assignments["nodeToRunner"][node];
  EXPECT_EQ(runner, exo_runner_id(id, 0));
  const Json shard = assignments["runnerToShard"][runner]["PipelineShardMetadata"];
  EXPECT_EQ(shard["worldSize"], 1);
  EXPECT_EQ(shard["startLayer"], 0);
  EXPECT_EQ(shard["endLayer"], 4);
  EXPECT_EQ(shard["modelCard"], reply["model_card"]);
  EXPECT_EQ(parsed(call("DELETE", "/instance/" + id))["instance_id"], id);
  expect_exo_error(call("GET", "/instance/" + id), 404, id);
  expect_exo_error(call("DELETE", "/instance/" + id), 404, id);
}

TEST_F(ApiTest, ExosStateIsWalkedByKeysAndPositions) {
  post("/cohort/instances", {{"model", "echo"}, {"wait", true}});
  const Json state = parsed(call("GET", "/state"));
  const std::string node = parsed(call("GET", "/node_id"));
  EXPECT_EQ(state["topology"]["nodes"], Json::array({node}));
  ASSERT_EQ(state["instances"].size(), 1u);
  ASSERT_EQ(state["runners"].size(), 1u);
  EXPECT_TRUE(state["runners"].front().contains("RunnerReady")) << state["runners"].dump();
  EXPECT_TRUE(state["tasks"].is_object() && state["downloads"].is_object());
  EXPECT_GT(state["nodeMemory"][node]["ramTotal"]["inBytes"].get<uint64_t>(), 0u);
  EXPECT_EQ(parsed(call("GET", "/state/topology/nodes/0")), node);
  EXPECT_EQ(parsed(call("GET", "/state/nodeBackends/" + node)), Json::array({"MlxCpu"}));
  EXPECT_EQ(call("GET", "/state/nodeMemory/" + node + "/ramTotal/inBytes").status, 200);
  for (const char* path : {"nodes", "topology/nodes/1", "topology/nodes/x", "topology/nodes/0/a"})
    expect_exo_error(call("GET", std::string("/state/") + path), 404, path);
}

TEST_F(ApiTest, ExosPreviewsGiveEveryKindWithAnInstanceOrAnError) {
  const std::string node = parsed(call("GET", "/node_id"));
  const Json all =
      parsed(call("GET", "/instance/previews?model_id=echo&node_ids=" + node))["previews"];
  ASSERT_EQ(all.size(), 4u);  // two shardings, over TCP and over RDMA
  for (const Json& preview : all) {
    const bool possible = preview["instance_meta"] == "MlxRing";
    EXPECT_EQ(preview["error"].is_null(), possible) << preview.dump();
    EXPECT_EQ(preview["instance"].is_object(), possible);
    EXPECT_EQ(preview["memory_delta_by_node"].contains(node), possible);
  }
  const Json huge = parsed(call("GET", "/instance/previews?model_id=huge"))["previews"];
  EXPECT_NE(huge[0]["error"].get<std::string>().find("missing"), std::string::npos);
  EXPECT_TRUE(huge[0]["instance"].is_null());
  const Json strange = parsed(call("GET", "/instance/previews?model_id=echo&node_ids=none"));
  EXPECT_NE(strange["previews"][0]["error"].get<std::string>().find("'none'"), std::string::npos);
  expect_exo_error(call("GET", "/instance/previews?model_id=unknown"), 400, "unknown");
  expect_exo_error(call("GET", "/instance/previews"), 422, "model_id");
}

TEST_F(ApiTest, ExosPlacementIsAnInstanceNobodyHasStarted) {
  const std::string path = "/instance/placement?model_id=";
  const Json placed = parsed(call("GET", path + "echo&sharding=Tensor&min_nodes=1"));
  EXPECT_EQ(placed["MlxRingInstance"]["shardAssignments"]["nodeToRunner"].size(), 1u);
  EXPECT_EQ(placed, parsed(call("GET", path + "echo&sharding=Tensor")));
  EXPECT_TRUE(parsed(call("GET", "/cohort/instances")).empty());
  expect_exo_error(call("GET", path + "huge"), 400, "missing");
  expect_exo_error(call("GET", path + "echo&min_nodes=2"), 400, "2 devices wanted");
  expect_exo_error(call("GET", path + "echo&instance_meta=MlxJaccl"), 400, "RDMA");
  expect_exo_error(call("GET", path + "echo&sharding=Round"), 422, "sharding");
  expect_exo_error(call("GET", path + "echo&min_nodes=many"), 422, "min_nodes");
  expect_exo_error(call("GET", path + "unknown"), 404, "unknown");
}

TEST_F(ApiTest, AnInstanceThatAnExoClientCutIsPlacedSo) {
  const Json cut = parsed(call("GET", "/instance/placement?model_id=echo"));
  const auto placed = post("/instance", {{"instance", cut}});
  ASSERT_EQ(placed.status, 200) << placed.body;
  EXPECT_EQ(only_instance()["members"][0]["last_layer"], 4);
  EXPECT_EQ(post("/instance", {{"instance", snake_keys(cut)}}).status, 200);
  Json broken = cut;
  broken["MlxRingInstance"]["shardAssignments"]["runnerToShard"] = Json::object();
  expect_exo_error(post("/instance", {{"instance", broken}}), 422, "has no shard");
  expect_exo_error(post("/instance", {{"instance", {{"MlxJacclInstance", Json::object()}}}}), 400,
                   "RDMA");
  expect_exo_error(post("/instance", Json::object()), 422, "instance");
}

TEST_F(ApiTest, ExosBadOrdersAreRefused) {
  expect_exo_error(post("/place_instance", exo_order("unknown-model")), 404, "unknown-model");
  expect_exo_error(post("/place_instance", exo_order("huge")), 400, "missing");
  Json order = exo_order("echo");
  order["min_nodes"] = 0;
  expect_exo_error(post("/place_instance", order), 422, "min_nodes");
  order["min_nodes"] = 3;
  expect_exo_error(post("/place_instance", order), 400, "3 devices wanted");
  order["min_nodes"] = "one";
  expect_exo_error(post("/place_instance", order), 422, "min_nodes");
  expect_exo_error(call("POST", "/place_instance", "{"), 400, "malformed");
  EXPECT_TRUE(parsed(call("GET", "/cohort/instances")).empty());
}

TEST_F(ApiTest, ExosAwaitTellsReadinessFailureAndTimeout) {
  options_.keep_alive = milliseconds(1);
  const auto awaited = [&](const std::string& query) {
    const std::string body = call("GET", "/instance/await?model_id=" + query).body;
    EXPECT_TRUE(body.starts_with(": keep-alive\n\n")) << body;
    const size_t data = body.find("data: ");
    EXPECT_NE(data, std::string::npos) << body;
    return parse_json(body.substr(data + 6)).value();
  };
  const Json none = awaited("echo&timeout_seconds=0.02");
  EXPECT_EQ(none["type"], "timeout");
  EXPECT_NE(none["message"].get<std::string>().find("echo"), std::string::npos);
  post("/place_instance", exo_order("echo"));
  const Json ready = awaited("echo-alias&timeout_seconds=0");
  EXPECT_EQ(ready["type"], "ready");
  const Json instance = ready["instance"]["MlxRingInstance"];
  EXPECT_EQ(instance["shard_assignments"]["model_id"], "echo");
  EXPECT_EQ(instance["instance_id"], only_instance()["instance"]);
  post("/place_instance", exo_order("fail-on-load"));
  EXPECT_EQ(awaited("fail-on-load&timeout_seconds=0")["type"], "error");
  expect_exo_error(call("GET", "/instance/await?model_id=echo&timeout_seconds=301"), 422, "300");
  expect_exo_error(call("GET", "/instance/await?timeout_seconds=1"), 422, "model_id");
}

TEST_F(ApiTest, ExosEventsTellDevicesAndInstancesInSnakeCase) {
  post("/cohort/instances", {{"model", "echo"}, {"wait", true}});
  const Json events = parsed(call("GET", "/events"));
  ASSERT_FALSE(events.empty());
  const Json created = events.back()["InstanceCreated"]["instance"]["MlxRingInstance"];
  EXPECT_EQ(created["instance_id"], only_instance()["instance"]);
}

TEST_F(ApiTest, ExosClientsLearnThatDisaggregationIsOff) {
  EXPECT_EQ(parsed(call("GET", "/v1/feature-flags")), (Json{{"disaggregation", false}}));
  EXPECT_EQ(parsed(call("GET", "/v1/instance-links")), Json::array());
  expect_exo_error(post("/v1/instance-links", Json::object()), 404, "disaggregation");
  expect_exo_error(call("DELETE", "/v1/instance-links/x"), 404, "disaggregation");
}

TEST(ExoState, AnUnevenSplitShowsLayersFractionsAndHosts) {
  node::InstanceStatus instance{.id = "i", .model = "m", .state = "loading"};
  instance.members = {
      {"b", "two", 0, 2, 5, 0.75}, {"c", "three", 1, 2, 5, 0.25}, {"a", "one", 2, 0, 2, 1}};
  std::vector<node::DeviceStatus> devices(1);
  devices[0].facts.id = "b";
  devices[0].facts.links = {{.peer = "a", .address = "10.0.0.1"}};
  cluster::ModelCost cost{.width = 8, .kv_heads = 0};
  cost.layers.resize(5);
  const Json ring = exo_instance(instance, cost, devices)["MlxRingInstance"];
  const Json shards = ring["shardAssignments"]["runnerToShard"];
  const Json tensor = shards[exo_runner_id("i", 0)]["TensorShardMetadata"];
  EXPECT_EQ(tensor["fraction"], 0.75);
  EXPECT_EQ(tensor["startLayer"], 2);
  EXPECT_EQ(tensor["worldSize"], 3);
  EXPECT_TRUE(tensor["modelCard"]["numKeyValueHeads"].is_null());
  const Json pipeline = shards[exo_runner_id("i", 2)]["PipelineShardMetadata"];
  EXPECT_EQ(pipeline["endLayer"], 2);
  EXPECT_EQ(pipeline["nLayers"], 5);
  ASSERT_EQ(ring["hostsByNode"].size(), 1u);
  EXPECT_EQ(ring["hostsByNode"]["b"][1]["ip"], "10.0.0.1");
}

TEST(ExoState, RunnersTellHowFarTheyAreAndDeadDevicesAreLeftOut) {
  ExoFacts facts;
  facts.plan.instances = {{.id = "i", .epoch = 3}};
  facts.instances = {{.id = "i", .model = "m", .state = "loading"}};
  facts.instances[0].members = {{"a", "one", 0, 0, 2, 1}, {"b", "two", 1, 2, 4, 1}};
  facts.devices.resize(3);
  for (int i = 0; i < 3; ++i) {
    facts.devices[i].facts.id = std::string(1, static_cast<char>('a' + i));
    facts.devices[i].state = i == 2 ? "dead" : "alive";
  }
  facts.devices[1].facts.shards = {{.instance = "i",
                                    .epoch = 3,
                                    .rank = 1,
                                    .state = "loading",
                                    .layers_loaded = 1,
                                    .total_layers = 2}};
  facts.devices[0].facts.shards = {{.instance = "i", .epoch = 2, .state = "ready"}};  // of before
  const Json state = exo_state(facts);
  EXPECT_TRUE(state["runners"][exo_runner_id("i", 0)].contains("RunnerIdle"));
  EXPECT_EQ(state["runners"][exo_runner_id("i", 1)]["RunnerLoading"]["layersLoaded"], 1);
  EXPECT_EQ(state["topology"]["nodes"], (Json{"a", "b"}));
  EXPECT_FALSE(state["lastSeen"].contains("c"));
  facts.instances[0].state = "failed";
  facts.instances[0].reason = "out of memory";
  const Json failed = exo_state(facts)["runners"][exo_runner_id("i", 0)];
  EXPECT_EQ(failed["RunnerFailed"]["errorMessage"], "out of memory");
}

TEST(ExoState, FillsInNetworksPortsDownloadsAndTasks) {
  ExoFacts facts;
  facts.plan.instances = {{.id = "i", .epoch = 1}};
  facts.instances = {{.id = "i", .model = "m", .state = "loading"}};
  facts.instances[0].members = {{"a", "one", 0, 0, 2, 1}, {"b", "two", 1, 2, 4, 1}};
  facts.instances[0].shard = {.instance = "i", .state = "ready", .weight_bytes = 7, .running = 2};
  facts.devices.resize(2);
  facts.devices[0].facts.id = "a";
  facts.devices[1].facts.id = "b";
  facts.devices[1].facts.mesh_port = 7001;
  facts.devices[0].facts.addresses = {{"eth0", "ethernet", "10.0.0.1"}};
  facts.devices[0].facts.links = {{.peer = "b", .address = "10.0.0.2"}};
  facts.devices[1].facts.shards = {{.instance = "i", .epoch = 1, .rank = 1, .state = "loading"}};
  const Json state = exo_state(facts);
  EXPECT_EQ(state["nodeNetwork"]["a"]["interfaces"][0]["ipAddress"], "10.0.0.1");
  const Json sink = state["topology"]["connections"]["a"]["b"][0]["sinkMultiaddr"];
  EXPECT_EQ(sink["address"], "/ip4/10.0.0.2/tcp/7001");
  EXPECT_EQ(state["downloads"]["a"][0]["DownloadCompleted"]["total"]["inBytes"], 7);
  EXPECT_EQ(state["downloads"]["b"][0]["DownloadPending"]["nodeId"], "b");
  int generations = 0, loads = 0;
  for (const auto& [id, task] : state["tasks"].items()) {
    generations += task.contains("TextGeneration") ? 1 : 0;
    loads += task.contains("LoadModel") ? 1 : 0;
  }
  EXPECT_EQ(generations, 2);
  EXPECT_EQ(loads, 1);
}

TEST(ExoState, IdsAreUuidsThatStayTheSameAndDiffer) {
  EXPECT_EQ(exo_runner_id("i", 0), exo_runner_id("i", 0));
  EXPECT_NE(exo_runner_id("i", 0), exo_runner_id("i", 1));
  const std::string id = exo_id("x");
  ASSERT_EQ(id.size(), 36u);
  for (const size_t dash : {8, 13, 18, 23}) EXPECT_EQ(id[dash], '-');
  EXPECT_EQ(id[14], '8');
}

TEST(ExoState, SnakeKeysSparesClassesAndValues) {
  const Json camel{{"MlxRingInstance", {{"instanceId", "aB"}, {"list", {{{"nLayers", 1}}}}}}};
  EXPECT_EQ(dump_json(snake_keys(camel)),
            R"({"MlxRingInstance":{"instance_id":"aB","list":[{"n_layers":1}]}})");
}

TEST(ExoWishes, APreviewsRanksAreThoseTheInstanceWillHave) {
  cluster::Topology topology;
  topology.devices = {{.id = "a", .name = "one"}, {.id = "b", .name = "two"}};
  cluster::Placement placement{.stages = {{0, 3, {{1, 1.0}}}, {3, 4, {{0, 1.0}}}}};
  const node::InstanceStatus preview = exo_preview("m", placement, topology);
  ASSERT_EQ(preview.members.size(), 2u);
  EXPECT_EQ(preview.members[0].device, "a");  // the last stage drives
  EXPECT_EQ(preview.members[0].first_layer, 3);
  EXPECT_EQ(preview.members[1].device, "b");
  EXPECT_EQ(preview.members[1].last_layer, 3);
  EXPECT_EQ(preview.id, exo_preview("m", placement, topology).id);
  EXPECT_NE(preview.id, exo_preview("other", placement, topology).id);
}

TEST(ExoWishes, PipelineShardsBecomeLayersByHandInOrder) {
  const Json instance = parse_json(R"({"MlxRingInstance":{"shardAssignments":{"modelId":"m",
      "runnerToShard":{"r1":{"PipelineShardMetadata":{"startLayer":3,"endLayer":9}},
                       "r2":{"PipelineShardMetadata":{"startLayer":0,"endLayer":3}}},
      "nodeToRunner":{"a":"r1","b":"r2"}}}})")
                            .value();
  const auto assignment = exo_assignment(instance);
  ASSERT_TRUE(assignment) << assignment.error().message;
  ASSERT_EQ(assignment->wishes.manual.size(), 2u);
  EXPECT_EQ(assignment->wishes.manual[0].device, "b");
  EXPECT_EQ(assignment->wishes.manual[1].last_layer, 9);
  EXPECT_EQ(assignment->wishes.sharding, "pipeline");
}

TEST(ExoWishes, TensorShardsBecomeAGroupOfTheirNodes) {
  Json instance = parse_json(R"({"MlxRingInstance":{"shardAssignments":{"modelId":"m",
      "runnerToShard":{"r1":{"TensorShardMetadata":{"startLayer":0,"endLayer":9}},
                       "r2":{"TensorShardMetadata":{"startLayer":0,"endLayer":9}}},
      "nodeToRunner":{"a":"r1","b":"r2"}}}})")
                      .value();
  const auto assignment = exo_assignment(instance);
  ASSERT_TRUE(assignment) << assignment.error().message;
  EXPECT_EQ(assignment->wishes.only, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(assignment->wishes.sharding, "tensor");
  EXPECT_EQ(assignment->wishes.devices, 2);
  Json& runners = instance["MlxRingInstance"]["shardAssignments"]["runnerToShard"];
  runners["r1"] = parse_json(R"({"CfgShardMetadata":{"startLayer":0,"endLayer":9}})").value();
  EXPECT_FALSE(exo_assignment(instance));
  runners["r1"] = parse_json(R"({"PipelineShardMetadata":{"startLayer":0,"endLayer":9}})").value();
  EXPECT_EQ(exo_assignment(instance).error().code, Code::kInvalidArgument);
}

// --- events

TEST_F(ApiTest, EventsAreAListOrAStreamThatGoesOn) {
  start();
  const Json before = parsed(call("GET", "/cohort/events"));
  ASSERT_FALSE(before.empty());
  const uint64_t last = before.back()["number"];
  RawClient client(daemon_->port());
  client.send(
      fmt::format("GET /cohort/events HTTP/1.1\r\nHost: localhost\r\n"
                  "Accept: text/event-stream\r\nLast-Event-ID: {}\r\n\r\n",
                  last - 1));
  EXPECT_NE(client.read_until("\r\n\r\n").find("text/event-stream"), std::string::npos);
  client.read_until(fmt::format("id: {}\n", last));
  const Json missed = parse_json(client.read_until("}").substr(6)).value();
  EXPECT_EQ(missed, before.back());
  post("/cohort/instances", {{"model", "echo"}, {"wait", true}});
  const std::string id = only_instance()["instance"];
  client.read_until(fmt::format(R"("kind":"instance","subject":"{}","what":"ready")", id));
  call("DELETE", "/cohort/instances/echo");
  client.read_until(fmt::format(R"("subject":"{}","what":"gone")", id));
}

TEST_F(ApiTest, AQuietEventStreamIsKeptAliveAndEndsWithTheDevice) {
  options_.keep_alive = milliseconds(1);
  start();
  RawClient client(daemon_->port());
  client.send(
      "GET /cohort/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n");
  for (int i = 0; i < 3; ++i) client.read_until(": keep-alive\n\n");
  daemon_->stop();
  EXPECT_TRUE(client.read_all().ends_with("0\r\n\r\n"));
  thread_.join();
}

TEST(Guard, ComparesKeysWhole) {
  EXPECT_TRUE(equal_in_constant_time("key", "key"));
  EXPECT_FALSE(equal_in_constant_time("key", "keykey"));
  EXPECT_FALSE(equal_in_constant_time("keykey", "key"));
  EXPECT_FALSE(equal_in_constant_time("", "key"));
  EXPECT_FALSE(equal_in_constant_time("kez", "key"));
}

TEST(ApiKeys, AreReadOneALine) {
  const std::string path = ::testing::TempDir() + "cohort-api-keys";
  std::ofstream(path) << "# mine\nfirst\n\n  second \r\n";
  EXPECT_EQ(read_api_keys(path).value(), (std::vector<std::string>{"first", "second"}));
  std::ofstream(path) << "# none\n";
  EXPECT_FALSE(read_api_keys(path));
  EXPECT_FALSE(read_api_keys(path + ".missing"));
}

}  // namespace
}  // namespace cohort::api
