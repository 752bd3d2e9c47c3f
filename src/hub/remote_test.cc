#include "hub/remote.h"

#include <cstdlib>

#include <gtest/gtest.h>

#include "hub/retry.h"
#include "hub/testing/hub_server.h"

namespace cohort::hub {
namespace {

using testing::HubServer;
using testing::Reply;
using testing::Request;

HubOptions options_for(const HubServer& server) {
  HubOptions options;
  options.endpoint = server.url();
  options.attempts = 2;
  options.backoff = Milliseconds(1);
  return options;
}

TEST(Remote, ListsFilesWithTheirChecksums) {
  HubServer server;
  const std::string large(5000, 'x');
  server.add_repository("a/b", {{"config.json", "{}"}, {"model.safetensors", large}});
  const auto files = list_files("a/b", options_for(server));
  ASSERT_TRUE(files) << files.error().message;
  ASSERT_EQ(files->size(), 2u);
  EXPECT_EQ((*files)[0].git_sha1,
            "9e26dfeeb6e641a33dae4961196235bdb965b21b");  // git hash-object of "{}"
  EXPECT_EQ((*files)[1].sha256, testing::sha256_hex(large));
  EXPECT_EQ((*files)[1].size_bytes, large.size());
}

TEST(Remote, FollowsThePagesOfAListing) {
  HubServer server;
  server.add_repository("a/b", {{"config.json", "{}"}});
  server.meddle = [&](const Request& request, Reply& reply) {
    if (request.path.find("cursor") == std::string::npos) {
      reply.headers.emplace_back(
          "Link", "<" + server.url() + "/api/models/a/b/tree/main?cursor=2>; rel=\"next\"");
    }
  };
  const auto files = list_files("a/b", options_for(server));
  ASSERT_TRUE(files) << files.error().message;
  EXPECT_EQ(files->size(), 2u);
}

TEST(Remote, PagesWithoutEndAreGivenUp) {
  HubServer server;
  server.add_repository("a/b", {{"config.json", "{}"}});
  server.meddle = [&](const Request&, Reply& reply) {
    reply.headers.emplace_back(
        "Link", "<" + server.url() + "/api/models/a/b/tree/main?cursor=2>; rel=\"next\"");
  };
  EXPECT_FALSE(list_files("a/b", options_for(server)));
}

TEST(Remote, MakesACardOfAnyRepository) {
  HubServer server;
  server.add_repository("a/b", {{"config.json", R"({"model_type":"qwen3","num_hidden_layers":28,
                                   "max_position_embeddings":4096,"quantization":{"bits":4,"group_size":64}})"},
                                {"model.safetensors", std::string(5000, 'x')}});
  const auto card = remote_card("a/b", options_for(server));
  ASSERT_TRUE(card) << card.error().message;
  EXPECT_EQ(card->family, "qwen3");
  EXPECT_EQ(card->layers, 28);
  EXPECT_EQ(card->quantization, "4bit");
  EXPECT_EQ(card->size_bytes, 5000u);
  EXPECT_EQ(card->repository, "a/b");
}

TEST(Remote, SearchGivesWhatTheHubFinds) {
  HubServer server;
  server.meddle = [](const Request& request, Reply& reply) {
    EXPECT_NE(request.path.find("search=qwen%203%26x"), std::string::npos) << request.path;
    reply = {
        .body =
            R"([{"id":"mlx-community/Qwen3-0.6B-4bit","downloads":12,"likes":3,"tags":["mlx"],"private":false}])"};
  };
  const auto hits = search("qwen 3&x", 5, options_for(server));
  ASSERT_TRUE(hits) << hits.error().message;
  ASSERT_EQ(hits->size(), 1u);
  EXPECT_EQ(hits->front().repository, "mlx-community/Qwen3-0.6B-4bit");
  EXPECT_EQ(hits->front().downloads, 12);
}

TEST(Remote, GoesThroughTheProxyOfTheEnvironment) {
  HubServer proxy;
  proxy.meddle = [](const Request& request, Reply& reply) {
    EXPECT_EQ(request.path, "http://hub.invalid/api/models/a/b/tree/main?recursive=1");
    reply = {.body = "[]"};
  };
  HubOptions options = options_for(proxy);
  options.endpoint = "http://hub.invalid";
  setenv("http_proxy", proxy.url().c_str(), 1);
  const auto files = list_files("a/b", options);
  unsetenv("http_proxy");
  ASSERT_TRUE(files) << files.error().message;
  EXPECT_EQ(proxy.requests().size(), 1u);
}

TEST(Remote, AHubThatIsNotThereIsAnErrorThatSaysSo) {
  HubOptions options;
  {
    HubServer gone;
    options = options_for(gone);
  }
  const auto files = list_files("a/b", options);
  ASSERT_FALSE(files);
  EXPECT_EQ(files.error().code, Code::kUnavailable);
}

TEST(Remote, TakesWeightsOnceAndOnlyWhatIsNeeded) {
  std::vector<RemoteFile> files;
  for (const char* path : {"model-1.safetensors", "consolidated.safetensors", "config.json",
                           "README.md", "tokenizer.model", "chat_template.jinja",
                           "original/model.safetensors", "pytorch_model.bin"}) {
    files.push_back({.path = path});
  }
  const auto needed = needed_files(files, "a/b");
  ASSERT_TRUE(needed);
  std::vector<std::string> names;
  for (const RemoteFile& file : *needed) names.push_back(file.path);
  EXPECT_EQ(names, (std::vector<std::string>{"model-1.safetensors", "config.json",
                                             "tokenizer.model", "chat_template.jinja"}));
}

TEST(Remote, FileNamesStayInTheirFolder) {
  for (const char* name : {"a", "a.json", "a/b.c", "..a", "a..b/c"})
    EXPECT_TRUE(check_file_name(name)) << name;
  for (const char* name :
       {"", ".", "..", "/a", "a/", "a//b", "../a", "a/../b", "a/./b", "a\\b", "a\nb"}) {
    EXPECT_FALSE(check_file_name(name)) << name;
  }
  EXPECT_FALSE(check_file_name(std::string(201, 'a')));
}

TEST(Retry, DecidesByStatus) {
  HubOptions options;
  options.attempts = 3;
  options.backoff = Milliseconds(100);
  options.longest_wait = Milliseconds(5'000);
  const auto after = [&](int status, int failures, std::optional<Milliseconds> retry_after = {}) {
    return judge({.status = status, .retry_after = retry_after}, failures, "x", options);
  };
  EXPECT_EQ(after(200, 0).kind, Verdict::Kind::kDone);
  EXPECT_EQ(after(206, 0).kind, Verdict::Kind::kDone);
  EXPECT_EQ(after(404, 0).kind, Verdict::Kind::kFail);
  EXPECT_EQ(after(500, 0).wait, Milliseconds(100));
  EXPECT_EQ(after(500, 1).wait, Milliseconds(200));
  EXPECT_EQ(after(500, 2).kind, Verdict::Kind::kFail);
  EXPECT_EQ(after(429, 0, Milliseconds(3'000)).wait, Milliseconds(3'000));
  EXPECT_TRUE(after(429, 0).all_wait);
  EXPECT_EQ(after(429, 0, Milliseconds(900'000)).wait, Milliseconds(5'000));
  EXPECT_EQ(judge({.status = 200, .error = "cut"}, 0, "x", options).kind, Verdict::Kind::kRetry);
}

TEST(Options, ComeFromTheEnvironment) {
  setenv("HF_ENDPOINT", "https://mirror.example/", 1);
  setenv("HF_TOKEN", "hf_x", 1);
  setenv("HF_HUB_OFFLINE", "1", 1);
  setenv("SSL_CERT_FILE", "/ca.pem", 1);
  const HubOptions options = hub_options_from_environment();
  for (const char* name : {"HF_ENDPOINT", "HF_TOKEN", "HF_HUB_OFFLINE", "SSL_CERT_FILE"})
    unsetenv(name);
  EXPECT_EQ(options.endpoint, "https://mirror.example");
  EXPECT_EQ(options.token, "hf_x");
  EXPECT_TRUE(options.offline);
  EXPECT_EQ(options.ca_file, "/ca.pem");
  EXPECT_EQ(file_url("a/b c", "x y.json", options),
            "https://mirror.example/a/b%20c/resolve/main/x%20y.json");
}

}  // namespace
}  // namespace cohort::hub
