// Two devices of one host: their runners share memory, unless they are told not to.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <memory>

#include "e2e/device.h"

namespace cohort::e2e {
namespace {

constexpr int kLooks = 20'000;  // until devices have found out what they share

class SameHost : public ::testing::Test {
 protected:
  // In float32 a token's bits do not depend on whether it was decoded or prefilled again.
  void SetUp() override {
    const std::string name = fmt::format("same-host-{}", getpid());
    for (auto* device : {&first_, &second_}) {
      *device = std::make_unique<Device>(std::vector<std::string>{
          "--namespace", name, "--threads", "1", "--math", "f32", "--kv-type", "f32"});
    }
    ASSERT_TRUE(eventually([&] { return best_transports() == "shm shm "; }, kLooks))
        << "they do not find that they share a host: " << best_transports();
  }

  // Of each device's links, as it says.
  std::string best_transports() const {
    std::string names;
    for (const Json& device : get(*first_, "/cohort/devices")) {
      for (const Json& link : device["links"]) names += link.value("transport", "") + " ";
    }
    return names;
  }

  Json place(const std::string& transport) const {
    const Json order{{"model", "demo"}, {"sharding", "tensor"},   {"devices", 2},
                     {"wait", true},    {"transport", transport}, {"another", true}};
    const auto reply = first_->client().call(
        {.method = "POST", .path = "/cohort/instances", .body = dump_json(order)});
    EXPECT_TRUE(reply && reply->status == 200) << (reply ? reply->body : reply.error().message);
    return reply ? parse_json(reply->body).value_or(Json()) : Json();
  }

  void stop_all() const {
    (void)first_->client().call({.method = "DELETE", .path = "/cohort/instances/demo"});
  }

  // What the runners of the one instance say.
  std::string transport_in_use() const {
    const Json instances = get(*first_, "/cohort/instances");
    if (instances.size() != 1 || instances[0]["links"].size() != 1) return dump_json(instances);
    return instances[0]["links"][0].value("transport", "");
  }

  std::unique_ptr<Device> first_, second_;
};

TEST_F(SameHost, RunnersLinkByWhatWasWishedAndTheTextIsOneDevices) {
  const std::vector<Golden> golden = demo_golden();
  const std::pair<const char*, const char*> wishes[] = {
      {"auto", "shm"}, {"tcp", "tcp"}, {"shm", "shm"}};
  for (const auto& [wish, transport] : wishes) {
    place(wish);
    EXPECT_TRUE(eventually([&] { return transport_in_use() == transport; }, kLooks))
        << transport_in_use();
    for (size_t i = 0; i < 4; ++i)
      EXPECT_EQ(chat(*first_, chat_body(golden[i].prompt, true)), golden[i].answer) << wish;
    stop_all();
  }
}

TEST_F(SameHost, AKilledRunnerOfSharedMemoryIsReplacedAndTheStreamGoesOn) {
  place("shm");
  Json body = chat_body("What is a computer?", true);
  body["max_tokens"] = 200;
  body["ignore_eos"] = true;
  const std::string undisturbed = chat(*first_, body);
  bool killed = false;
  const std::string text = chat(*first_, body, [&](int events) {
    if (events == 20) killed = kill(second_->runners().at(0), SIGKILL) == 0;
  });
  EXPECT_TRUE(killed);
  EXPECT_EQ(text, undisturbed);
  EXPECT_EQ(transport_in_use(), "shm");
  EXPECT_GE(get(*first_, "/cohort/instances")[0].value("heals", 0), 1);
}

TEST_F(SameHost, ATransportThatIsNoneIsRefused) {
  const auto reply = first_->client().call({.method = "POST",
                                            .path = "/cohort/instances",
                                            .body = R"({"model":"demo","transport":"pigeon"})"});
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status, 400) << reply->body;
  EXPECT_NE(reply->body.find("none of auto, tcp, shm"), std::string::npos) << reply->body;
}

}  // namespace
}  // namespace cohort::e2e
