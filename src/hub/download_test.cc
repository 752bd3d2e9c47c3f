#include "hub/download.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <latch>
#include <random>

#include <gtest/gtest.h>

#include "hub/journal.h"
#include "hub/testing/hub_server.h"

extern char** environ;

namespace cohort::hub {
namespace {

namespace fs = std::filesystem;
using testing::HubServer;
using testing::Reply;
using testing::Request;

constexpr char kRepository[] = "owner/model";
constexpr char kWeights[] = "model.safetensors";
constexpr size_t kChunk = 64 << 10;

std::string noise(size_t size) {
  std::mt19937 random(7);
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

std::string read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

bool is_weights(const Request& request) { return request.path.ends_with(kWeights); }

class DownloadTest : public ::testing::Test {
 protected:
  DownloadTest() {
    std::string name = (fs::temp_directory_path() / "cohort-download-XXXXXX").string();
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
    weights_ = noise(10 * kChunk + 123);
    server_.add_repository(kRepository,
                           {{"config.json", R"({"model_type":"llama","num_hidden_layers":2})"},
                            {"tokenizer.json", std::string(3000, ' ') + "{}"},
                            {kWeights, weights_},
                            {"README.md", "not needed"},
                            {".gitattributes", "not needed"}});
    options_.hub.endpoint = server_.url();
    options_.hub.chunk_bytes = kChunk;
    options_.hub.connections = 4;
    options_.hub.attempts = 3;
    options_.hub.backoff = Milliseconds(1);
    options_.hub.longest_wait = Milliseconds(2);
    options_.hub.stall_timeout = Milliseconds(10'000);
  }
  ~DownloadTest() override { fs::remove_all(folder_); }

  Store store() const {
    return Store({.data_dir = folder_ / "data",
                  .models_dirs = {folder_ / "read-only"},
                  .use_hub_cache = false});
  }
  fs::path model_folder() const { return store().folder_of(kRepository); }
  Result<StoredModel> pull_model() { return pull(store(), kRepository, options_); }
  std::string pull_error() {
    const auto pulled = pull_model();
    return pulled ? ""
                  : std::string(code_name(pulled.error().code)) + ": " + pulled.error().message;
  }
  void expect_whole() {
    EXPECT_EQ(read_file(model_folder() / kWeights), weights_);
    EXPECT_FALSE(fs::exists(model_folder() / Journal::kUnfinished));
    const auto found = store().find(kRepository);
    ASSERT_TRUE(found) << found.error().message;
    EXPECT_TRUE(found->complete);
  }

  fs::path folder_;
  std::string weights_;
  HubServer server_;
  PullOptions options_;
};

TEST_F(DownloadTest, BringsWhatTheModelNeedsAndNothingElse) {
  uint64_t reported = 0, total = 0;
  options_.progress = [&](const PullProgress& progress) {
    EXPECT_LE(progress.done_bytes, progress.total_bytes);
    EXPECT_GE(progress.done_bytes, reported);
    reported = progress.done_bytes;
    total = progress.total_bytes;
  };
  const auto pulled = pull_model();
  ASSERT_TRUE(pulled) << pulled.error().message;
  EXPECT_EQ(pulled->repository, kRepository);
  EXPECT_EQ(pulled->card.layers, 2);
  expect_whole();
  EXPECT_TRUE(fs::exists(model_folder() / "tokenizer.json"));
  EXPECT_FALSE(fs::exists(model_folder() / "README.md"));
  EXPECT_EQ(reported, total);
  EXPECT_GT(total, weights_.size());
}

TEST_F(DownloadTest, ASecondPullOnlyLooksAtTheListing) {
  ASSERT_EQ(pull_error(), "");
  const size_t requests = server_.requests().size();
  ASSERT_EQ(pull_error(), "");
  EXPECT_EQ(server_.requests().size(), requests + 1);
}

TEST_F(DownloadTest, AnUpdatedFileIsFetchedAgainAndTheOthersAreNot) {
  ASSERT_EQ(pull_error(), "");
  weights_ = noise(2 * kChunk);
  server_.add_repository(kRepository,
                         {{"config.json", R"({"model_type":"llama","num_hidden_layers":2})"},
                          {"tokenizer.json", std::string(3000, ' ') + "{}"},
                          {kWeights, weights_}});
  const size_t before = server_.requests().size();
  ASSERT_EQ(pull_error(), "");
  expect_whole();
  const auto requests = server_.requests();
  for (size_t i = before + 1; i < requests.size(); ++i)
    EXPECT_TRUE(is_weights(requests[i])) << requests[i].path;
}

TEST_F(DownloadTest, AModelInAFolderOfOthersIsLeftAlone) {
  fs::create_directories(folder_ / "read-only/owner--model");
  std::ofstream(folder_ / "read-only/owner--model/config.json") << "{}";
  std::ofstream(folder_ / "read-only/owner--model/model.safetensors") << "x";
  ASSERT_EQ(pull_error(), "");
  EXPECT_TRUE(server_.requests().empty());
  EXPECT_FALSE(fs::exists(model_folder()));
}

TEST_F(DownloadTest, CutConnectionsAreTakenUpWhereTheyEnded) {
  std::atomic<int> cuts = 0;
  server_.meddle = [&](const Request& request, Reply& reply) {
    if (is_weights(request) && cuts++ < 5) reply.cut_after = reply.body.size() / 2;
  };
  ASSERT_EQ(pull_error(), "");
  expect_whole();
  EXPECT_LT(server_.sent_bytes(), weights_.size() + 8192);  // nothing came twice
}

TEST_F(DownloadTest, AConnectionThatStallsIsGivenUp) {
  options_.hub.stall_timeout = Milliseconds(150);
  std::atomic<bool> stalled = false;
  server_.meddle = [&](const Request& request, Reply& reply) {
    if (is_weights(request) && !stalled.exchange(true)) reply.stall_after = 1000;
  };
  ASSERT_EQ(pull_error(), "");
  expect_whole();
}

TEST_F(DownloadTest, AServerThatOnlyStallsEndsThePull) {
  options_.hub.stall_timeout = Milliseconds(50);
  server_.meddle = [](const Request& request, Reply& reply) {
    if (is_weights(request)) reply.stall_after = 0;
  };
  EXPECT_NE(pull_error().find("nothing came for 50 ms"), std::string::npos) << pull_error();
}

TEST_F(DownloadTest, ACorruptCopyIsFetchedAgain) {
  std::atomic<bool> corrupted = false;
  server_.meddle = [&](const Request& request, Reply& reply) {
    if (is_weights(request) && !corrupted.exchange(true)) reply.body[77] ^= 1;
  };
  ASSERT_EQ(pull_error(), "");
  expect_whole();
}

TEST_F(DownloadTest, WhatStaysCorruptNeverGetsItsName) {
  server_.meddle = [](const Request& request, Reply& reply) {
    if (is_weights(request)) reply.body[0] ^= 1;
  };
  EXPECT_NE(pull_error().find("checksum"), std::string::npos);
  EXPECT_FALSE(fs::exists(model_folder() / kWeights));
  EXPECT_FALSE(store().find(kRepository));
  server_.meddle = nullptr;
  ASSERT_EQ(pull_error(), "");
  expect_whole();
}

TEST_F(DownloadTest, SmallFilesAreVerifiedToo) {
  server_.meddle = [](const Request& request, Reply& reply) {
    if (request.path.ends_with("config.json")) reply.body[0] = '[';
  };
  EXPECT_NE(pull_error().find("config.json"), std::string::npos);
}

TEST_F(DownloadTest, BusyServersAreAskedAgainLater) {
  std::atomic<int> refused = 0;
  server_.meddle = [&](const Request& request, Reply& reply) {
    const int count = refused++;
    if (count < 1 || (is_weights(request) && count < 4)) {
      reply = {
          .status = count % 2 ? 503 : 429, .headers = {{"Retry-After", "0"}}, .body = "slow down"};
    }
  };
  ASSERT_EQ(pull_error(), "");
  expect_whole();
}

TEST_F(DownloadTest, AServerThatKeepsFailingEndsThePullAndTheNextOneGoesOn) {
  std::atomic<int> served = 0;
  server_.meddle = [&](const Request& request, Reply& reply) {
    if (is_weights(request) && served++ >= 4) reply = {.status = 500};
  };
  options_.hub.connections = 1;
  EXPECT_NE(pull_error().find("HTTP status 500"), std::string::npos);
  EXPECT_FALSE(store().find(kRepository));
  server_.meddle = nullptr;
  const uint64_t before = server_.sent_bytes();
  ASSERT_EQ(pull_error(), "");
  expect_whole();
  EXPECT_LT(server_.sent_bytes() - before, weights_.size() - 3 * kChunk + 8192);
}

TEST_F(DownloadTest, RedirectsAreFollowedAndTheTokenStaysWithTheHub) {
  HubServer elsewhere;
  elsewhere.add_repository("cdn/files", {{kWeights, weights_}});
  options_.hub.token = "hf_secret";
  server_.meddle = [&](const Request& request, Reply& reply) {
    EXPECT_EQ(request.headers.at("authorization"), "Bearer hf_secret");
    if (!is_weights(request)) return;
    reply = {.status = 302,
             .headers = {{"Location", elsewhere.url() + "/cdn/files/resolve/main/" + kWeights}},
             .body = "moved"};
  };
  ASSERT_EQ(pull_error(), "");
  expect_whole();
  EXPECT_FALSE(elsewhere.requests().empty());
  for (const Request& request : elsewhere.requests())
    EXPECT_EQ(request.headers.count("authorization"), 0u);
}

TEST_F(DownloadTest, AnAddressOfTheRedirectThatExpiresIsAskedForAgain) {
  HubServer elsewhere;
  elsewhere.add_repository("cdn/files", {{kWeights, weights_}});
  std::atomic<int> served = 0;
  elsewhere.meddle = [&](const Request&, Reply& reply) {
    if (++served % 3 == 0) reply = {.status = 403, .body = "expired"};
  };
  server_.meddle = [&](const Request& request, Reply& reply) {
    if (!is_weights(request)) return;
    served = 0;
    reply = {.status = 302,
             .headers = {{"Location", elsewhere.url() + "/cdn/files/resolve/main/" + kWeights}}};
  };
  options_.hub.connections = 1;
  ASSERT_EQ(pull_error(), "");
  expect_whole();
}

TEST_F(DownloadTest, AServerWithoutRangesSendsTheWhole) {
  const std::string whole = weights_;
  server_.meddle = [&](const Request& request, Reply& reply) {
    if (is_weights(request)) reply = {.body = whole};
  };
  ASSERT_EQ(pull_error(), "");
  expect_whole();
}

TEST_F(DownloadTest, AnotherRangeThanAskedForIsRefused) {
  server_.meddle = [](const Request& request, Reply& reply) {
    if (is_weights(request) && request.range && request.range->first > 0) {
      reply.headers = {{"Content-Range", "bytes 0-9/10"}};
    }
  };
  EXPECT_NE(pull_error().find("another range"), std::string::npos);
}

TEST_F(DownloadTest, MissingRepositoriesAndTokensSaySo) {
  EXPECT_NE(pull(store(), "owner/nothing", options_).error().message.find("not found"),
            std::string::npos);
  server_.meddle = [](const Request&, Reply& reply) { reply = {.status = 401}; };
  const auto refused = pull_model();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kUnauthorized);
  EXPECT_NE(refused.error().message.find("HF_TOKEN"), std::string::npos);
}

TEST_F(DownloadTest, NamesThatLeaveTheFolderAreRefused) {
  for (const std::string name :
       {"../evil.safetensors", "a/../../evil.json", "/etc/evil.json", "a\\b.json", "a//b.json"}) {
    server_.add_repository(kRepository, {{"config.json", "{}"}, {kWeights, weights_}, {name, "x"}});
    EXPECT_NE(pull_error().find("refusing the file name"), std::string::npos) << name;
  }
  EXPECT_FALSE(fs::exists(model_folder()));
}

TEST_F(DownloadTest, ARepositoryWithoutWeightsSaysSo) {
  server_.add_repository(kRepository, {{"config.json", "{}"}, {"model.gguf", weights_}});
  EXPECT_NE(pull_error().find("has no .safetensors"), std::string::npos);
}

TEST_F(DownloadTest, ListingsThatLieAreRefused) {
  std::string listing;
  server_.meddle = [&](const Request& request, Reply& reply) {
    if (request.path.starts_with("/api/")) reply = {.body = listing};
  };
  for (const char* text : {"{", "{}", "[1]", R"([{"type":"file","path":"a.json","size":"x"}])",
                           R"([{"type":"file","path":"model.safetensors","size":5}])"}) {
    listing = text;
    EXPECT_NE(pull_error(), "") << text;
  }
  listing = R"([{"type":"file","path":"model.safetensors","size":900000000000,"oid":")" +
            std::string(40, 'a') + "\"}]";
  EXPECT_NE(pull_error().find("to spare"), std::string::npos) << pull_error();
  listing.replace(listing.find("900000000000"), 12, "4611686018427387904");
  EXPECT_NE(pull_error().find("over the limit"), std::string::npos) << pull_error();
}

TEST_F(DownloadTest, OfflineMeansOffline) {
  options_.hub.offline = true;
  EXPECT_NE(pull_error().find("offline"), std::string::npos);
  options_.hub.offline = false;
  ASSERT_EQ(pull_error(), "");
  options_.hub.offline = true;
  const size_t requests = server_.requests().size();
  EXPECT_EQ(pull_error(), "");
  EXPECT_EQ(server_.requests().size(), requests);
}

TEST_F(DownloadTest, StopsWhenAskedAndKeepsWhatItHas) {
  std::stop_source stop;
  options_.stop = stop.get_token();
  options_.hub.connections = 1;
  std::atomic<int> served = 0;
  server_.meddle = [&](const Request& request, Reply& reply) {
    if (is_weights(request) && ++served == 4) {
      reply.stall_after = 10;
      stop.request_stop();
    }
  };
  EXPECT_TRUE(pull_error().starts_with("cancelled")) << pull_error();
  server_.meddle = nullptr;
  options_.stop = {};
  const uint64_t before = server_.sent_bytes();
  ASSERT_EQ(pull_error(), "");
  expect_whole();
  EXPECT_LT(server_.sent_bytes() - before, weights_.size() - 2 * kChunk + 8192);
}

TEST_F(DownloadTest, TwoPullsOfOneModelDoNotMix) {
  fs::create_directories(model_folder());
  const auto held = Journal::open(model_folder());
  ASSERT_TRUE(held);
  EXPECT_NE(pull_error().find("another process"), std::string::npos);
}

TEST_F(DownloadTest, AKilledPullIsResumed) {
  std::latch both_stuck(2);
  std::atomic<bool> stall = true;
  server_.meddle = [&](const Request& request, Reply& reply) {
    if (!stall || !is_weights(request) || !request.range || request.range->first < 5 * kChunk)
      return;
    reply.stall_after = 100;
    both_stuck.count_down();  // its connection is free again, so what it brought before is recorded
  };
  const std::string endpoint = server_.url(), data = (folder_ / "data").string();
  const char* arguments[] = {HUB_PULL, endpoint.c_str(), data.c_str(), kRepository, nullptr};
  pid_t child = 0;
  ASSERT_EQ(posix_spawn(&child, HUB_PULL, nullptr, nullptr, const_cast<char**>(arguments), environ),
            0);
  both_stuck.wait();
  kill(child, SIGKILL);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_FALSE(store().find(kRepository));
  stall = false;
  const uint64_t before = server_.sent_bytes();
  ASSERT_EQ(pull_error(), "");
  expect_whole();
  EXPECT_LT(server_.sent_bytes() - before, weights_.size() - 5 * kChunk + 8192);
}

TEST_F(DownloadTest, AFileKilledBetweenItsNameAndItsRecordIsOnlyVerified) {
  fs::create_directories(model_folder());
  std::ofstream(model_folder() / kWeights, std::ios::binary) << weights_;
  ASSERT_EQ(pull_error(), "");
  expect_whole();
  for (const Request& request : server_.requests()) EXPECT_FALSE(is_weights(request));
}

}  // namespace
}  // namespace cohort::hub
