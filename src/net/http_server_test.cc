#include "net/http_server.h"

#include <gtest/gtest.h>

#include <future>
#include <thread>

#include <boost/asio/post.hpp>

#include "base/log.h"
#include "net/http_client.h"
#include "net/port_owner.h"
#include "net/testing/raw_client.h"

namespace cohort::net {
namespace {

using std::chrono::milliseconds;
using testing::RawClient;

// A server on its own loop thread. The handler knows a few paths; what it saw is told through promises.
class HttpServerTest : public ::testing::Test {
 protected:
  void start(HttpLimits limits = {}) {
    server_.emplace(loop_.get_executor(), limits,
                    [this](HttpRequest request, ResponseWriter& writer) {
                      return handle(std::move(request), writer);
                    });
    const auto listening = server_->listen("127.0.0.1", 0);
    ASSERT_TRUE(listening) << listening.error().message;
    thread_ = std::thread([this] { loop_.run(); });
  }

  void TearDown() override {
    if (!thread_.joinable()) return;
    asio::post(loop_, [this] { main_.spawn(server_->close(Clock::now())); });
    thread_.join();
    EXPECT_EQ(server_->connections(), 0u);
  }

  Task<void> handle(HttpRequest request, ResponseWriter& writer) {
    if (request.encoded_path() == "/stream") return stream(writer);
    if (request.encoded_path() == "/flood") return flood(writer);
    if (request.encoded_path() == "/hang") return hang();
    if (request.encoded_path() == "/throw") return fail_like_a_library();
    if (request.encoded_path() == "/nothing") return nothing();
    return echo(std::move(request), writer);
  }

  Task<void> echo(HttpRequest request, ResponseWriter& writer) {
    HttpResponse response;
    response.body = request.method + " " + request.target + " " + request.body;
    co_await writer.send(std::move(response));
  }

  Task<void> stream(ResponseWriter& writer) {
    std::vector<Header> headers{{"Content-Type", "text/event-stream"}};
    co_await writer.start_stream(200, std::move(headers));
    for (int i = 0; i < 3; ++i) co_await writer.write(fmt::format("data: {}\n\n", i));
    co_await writer.finish();
  }

  // Writes without end: only back-pressure and the client's going can stop it.
  Task<void> flood(ResponseWriter& writer) {
    co_await writer.start_stream(200, std::vector<Header>());
    const std::string block(64 << 10, 'x');
    size_t written = 0;
    for (;;) {
      if (written >= (32u << 20)) break;
      const auto result = co_await writer.write(block);
      if (!result) break;
      written += block.size();
      flooded_bytes_ = written;
    }
    ended_.set_value();
  }

  Task<void> nothing() { co_return; }
  Task<void> fail_like_a_library() {
    std::vector<int> empty;
    empty.at(1);
    co_return;
  }

  // Never answers, and learns of its client's going all the same.
  Task<void> hang() {
    Notification never(loop_.get_executor());
    hanging_.set_value();
    const Wake wake = co_await never.wait();
    EXPECT_EQ(wake, Wake::kCancelled);
    ended_.set_value();
  }

  void expect_ended() {
    EXPECT_EQ(ended_.get_future().wait_for(std::chrono::seconds(30)), std::future_status::ready);
  }

  Loop loop_{1};
  std::optional<HttpServer> server_;
  TaskGroup main_{loop_.get_executor()};
  std::thread thread_;
  std::promise<void> hanging_, ended_;
  std::atomic<size_t> flooded_bytes_ = 0;
};

TEST_F(HttpServerTest, AnswersPipelinedRequestsInOrderOnOneConnection) {
  start();
  RawClient client(server_->port());
  std::string requests;
  for (int i = 0; i < 50; ++i) requests += fmt::format("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", i);
  client.send(requests);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(client.read_response().body, fmt::format("GET /{} ", i));
}

TEST_F(HttpServerTest, ReadsABodyByLengthAndByChunks) {
  start();
  RawClient client(server_->port());
  client.send("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello");
  EXPECT_EQ(client.read_response().body, "POST /a hello");
  client.send(
      "POST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: "
      "chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
  EXPECT_EQ(client.read_response().body, "POST /b abcde");
}

TEST_F(HttpServerTest, ARequestMayArriveByteByByte) {
  start();
  RawClient client(server_->port());
  for (const char byte :
       std::string("POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok")) {
    ASSERT_TRUE(client.send(std::string_view(&byte, 1)));
  }
  EXPECT_EQ(client.read_response().body, "POST /slow ok");
}

TEST_F(HttpServerTest, StreamsInChunksAndKeepsTheConnection) {
  start();
  RawClient client(server_->port());
  client.send("GET /stream HTTP/1.1\r\nHost: x\r\n\r\nGET /next HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(client.read_response().body, "data: 0\n\ndata: 1\n\ndata: 2\n\n");
  EXPECT_EQ(client.read_response().body, "GET /next ");
}

TEST_F(HttpServerTest, AnOldClientGetsTheStreamUpToTheEndOfTheConnection) {
  start();
  RawClient client(server_->port());
  client.send("GET /stream HTTP/1.0\r\n\r\n");
  const std::string all = client.read_all();
  EXPECT_NE(all.find("Connection: close"), std::string::npos);
  EXPECT_TRUE(all.ends_with("\r\n\r\ndata: 0\n\ndata: 1\n\ndata: 2\n\n")) << all;
}

TEST_F(HttpServerTest, AHeadRequestGetsTheHeadAlone) {
  start();
  RawClient client(server_->port());
  client.send(
      "HEAD /x HTTP/1.1\r\nHost: x\r\n\r\nGET /y HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  const std::string all = client.read_all();
  EXPECT_EQ(all.find("HEAD /x"), std::string::npos);
  EXPECT_TRUE(all.ends_with("GET /y "));
}

TEST_F(HttpServerTest, WaitsForContinueAreAnswered) {
  start();
  RawClient client(server_->port());
  client.send("POST /c HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  client.send("ok");
  EXPECT_EQ(client.read_response().body, "POST /c ok");
}

TEST_F(HttpServerTest, ABodyOverTheLimitIs413EvenWhileTheClientStillSends) {
  start({.max_body_bytes = 1 << 20});
  RawClient announced(server_->port());
  announced.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1048577\r\n\r\n");
  announced.send(std::string(1048577, 'x'));
  EXPECT_EQ(announced.read_response().status, 413);
  RawClient chunked(server_->port());
  chunked.send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
  const std::string chunk = "40000\r\n" + std::string(0x40000, 'x') + "\r\n";
  for (int i = 0; i < 5; ++i) chunked.send(chunk);
  EXPECT_EQ(chunked.read_response().status, 413);
}

TEST_F(HttpServerTest, AHeaderOverTheLimitIs431) {
  start();
  RawClient client(server_->port());
  client.send("GET / HTTP/1.1\r\nHost: x\r\nCookie: " + std::string(70'000, 'c'));
  client.send("\r\n\r\n");
  EXPECT_EQ(client.read_response().status, 431);
}

TEST_F(HttpServerTest, GarbageIs400AndTheServerLivesOn) {
  start();
  for (const char* garbage :
       {"\x16\x03\x01\x02garbage\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"}) {
    RawClient client(server_->port());
    client.send(garbage);
    EXPECT_EQ(client.read_response().status, 400) << garbage;
  }
  RawClient client(server_->port());
  client.send("GET /fine HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(client.read_response().status, 200);
}

TEST_F(HttpServerTest, OneConnectionTooManyIsTold503AndAFreedPlaceIsUsed) {
  start({.max_connections = 2});
  auto first = std::make_unique<RawClient>(server_->port());
  RawClient second(server_->port());
  for (RawClient* client : {first.get(), &second}) {
    client->send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_EQ(client->read_response().status, 200);
  }
  RawClient third(server_->port());
  EXPECT_EQ(third.read_response().status, 503);
  first->send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  first->read_all();
  first.reset();
  int status = 503;
  while (status == 503) {  // until the server has seen the first one go
    RawClient fourth(server_->port());
    fourth.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    status = fourth.read_response().status;
  }
  EXPECT_EQ(status, 200);
}

TEST_F(HttpServerTest, ASilentClientIsDroppedAtEachStage) {
  start({.header_timeout = milliseconds(30),
         .idle_timeout = milliseconds(30),
         .body_timeout = milliseconds(30)});
  for (const char* begin :
       {"", "GET / HT", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf"}) {
    RawClient client(server_->port());
    client.send(begin);
    EXPECT_EQ(client.read_all(), "") << begin;
  }
}

TEST_F(HttpServerTest, AHandlerThatHasWrittenNothingLearnsThatItsClientIsGone) {
  start();
  RawClient client(server_->port());
  client.send("GET /hang HTTP/1.1\r\nHost: x\r\n\r\n");
  hanging_.get_future().wait();
  client.close();
  expect_ended();
}

TEST_F(HttpServerTest, AHandlerThatThrowsOrSaysNothingIs500AndTheServerLivesOn) {
  log::configure(log::Level::kOff, log::Format::kText, "test");
  start();
  for (const char* path : {"/throw", "/nothing"}) {
    RawClient client(server_->port());
    client.send(fmt::format("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", path));
    EXPECT_EQ(client.read_response().status, 500) << path;
  }
  RawClient client(server_->port());
  client.send("GET /fine HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(client.read_response().status, 200);
}

TEST_F(HttpServerTest, AResetIsNoticedEvenBehindAPipelinedRequest) {
  start();
  RawClient client(server_->port());
  client.send("GET /hang HTTP/1.1\r\nHost: x\r\n\r\nGET /next HTTP/1.1\r\nHost: x\r\n\r\n");
  hanging_.get_future().wait();
  client.reset();
  expect_ended();
}

TEST_F(HttpServerTest, ASlowReaderHoldsTheWriterBack) {
  start();
  RawClient client(server_->port(), 4096);
  client.send("GET /flood HTTP/1.1\r\nHost: x\r\n\r\n");
  client.read_until("\r\n\r\n");
  // Another client is served meanwhile, and what is in flight stays within the system's socket buffers.
  RawClient other(server_->port());
  for (int i = 0; i < 200; ++i) {
    other.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_EQ(other.read_response().status, 200);
  }
  EXPECT_LT(flooded_bytes_.load(), 16u << 20);
  client.close();
  expect_ended();
}

TEST_F(HttpServerTest, AReaderThatStopsForGoodIsCutOff) {
  start({.write_timeout = milliseconds(50)});
  RawClient client(server_->port(), 4096);
  client.send("GET /flood HTTP/1.1\r\nHost: x\r\n\r\n");
  expect_ended();
  EXPECT_LT(flooded_bytes_.load(), 32u << 20);
}

TEST_F(HttpServerTest, ATakenPortIsAnErrorThatNamesTheTaker) {
  start();
  Loop loop(1);
  HttpServer second(loop.get_executor(), {},
                    [](HttpRequest, ResponseWriter&) -> Task<void> { co_return; });
  const auto listening = second.listen("127.0.0.1", server_->port());
  ASSERT_FALSE(listening);
  EXPECT_EQ(listening.error().code, Code::kUnavailable);
  EXPECT_NE(listening.error().message.find(fmt::format("pid {} (net_test)", getpid())),
            std::string::npos)
      << listening.error().message;
}

TEST_F(HttpServerTest, TheClientReadsBodiesLinesAndErrors) {
  start();
  HttpClient client({.base_url = fmt::format("http://127.0.0.1:{}/", server_->port())});
  const auto reply = client.call({.method = "POST", .path = "/p?q=1", .body = "text"});
  ASSERT_TRUE(reply) << reply.error().message;
  EXPECT_EQ(reply->body, "POST /p?q=1 text");
  std::vector<std::string> lines;
  const auto streamed = client.stream_lines({.path = "/stream"}, [&](std::string_view line) {
    lines.emplace_back(line);
    return lines.size() < 3;
  });
  ASSERT_TRUE(streamed) << streamed.error().message;
  EXPECT_EQ(lines, (std::vector<std::string>{"data: 0", "", "data: 1"}));
}

TEST(HttpClient, ANobodyThereIsUnavailableAndSaysWhatToDo) {
  uint16_t free_port;
  {
    Loop loop(1);
    asio::ip::tcp::acceptor acceptor(loop, {asio::ip::make_address("127.0.0.1"), 0});
    free_port = acceptor.local_endpoint().port();
  }
  HttpClient client({.base_url = fmt::format("http://127.0.0.1:{}", free_port)});
  const auto reply = client.call({});
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, Code::kUnavailable);
  EXPECT_NE(reply.error().message.find("cohort serve"), std::string::npos);
}

TEST(PortOwner, AFreePortHasNone) { EXPECT_EQ(port_owner(1), ""); }

TEST(Http, DecodesPathsAndQueries) {
  HttpRequest request;
  request.target = "/v1/models/org%2Fname?a=1%202&b=x+y&c";
  EXPECT_EQ(request.encoded_path(), "/v1/models/org%2Fname");
  EXPECT_EQ(percent_decode(request.encoded_path()), "/v1/models/org/name");
  EXPECT_EQ(request.query("a"), "1 2");
  EXPECT_EQ(request.query("b"), "x y");
  EXPECT_EQ(request.query("c"), "");
  EXPECT_EQ(percent_decode("100%"), "100%");
}

}  // namespace
}  // namespace cohort::net
