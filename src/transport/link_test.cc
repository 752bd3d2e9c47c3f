#include "transport/link.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <vector>

#include "transport/local_groups.h"
#include "transport/shared_memory.h"
#include "transport/shm.h"
#include "transport/socket.h"
#include "transport/ucx/ucx.h"

namespace cohort::transport {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}
std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Both ends of a link in one thread.
class LinkOf : public ::testing::TestWithParam<LinkType> {
 protected:
  void SetUp() override {
    auto links = make_local_links({.size = 2, .type = GetParam()});
    ASSERT_TRUE(links) << links.error().message;
    a_ = std::move((*links)[0][1]);
    b_ = std::move((*links)[1][0]);
  }

  // Polls until there is a message or an error: what was sent is on its way.
  static Result<InMessage> receive(Link& link) {
    while (true) {
      Result<std::optional<InMessage>> message = link.try_receive();
      if (!message) return tl::unexpected(message.error());
      if (*message) return **message;
    }
  }

  static Error error_of(Link& link) {
    const Result<InMessage> message = receive(link);
    return message ? Error{Code::kInternal, "no error"} : message.error();
  }

  static Error first_failed_check(Link& link) {
    Result<void> result;
    while (result) result = link.check();
    return result.error();
  }

  std::unique_ptr<Link> a_, b_;
};

std::vector<LinkType> link_types_with_ucx() {
  std::vector<LinkType> types = link_types_here();
  if (has_ucx()) types.push_back(LinkType::kUcx);
  return types;
}
INSTANTIATE_TEST_SUITE_P(Links, LinkOf, ::testing::ValuesIn(link_types_with_ucx()),
                         [](const auto& test) { return type_name(test.param); });

TEST_P(LinkOf, MessagesArriveWholeAndInOrder) {
  for (std::string text : {"first", "", "third"}) {
    ASSERT_TRUE(a_->try_send({Kind::kPoint, 1000, bytes_of(text)}).value());
  }
  for (std::string text : {"first", "", "third"}) {
    const Result<InMessage> message = receive(*b_);
    ASSERT_TRUE(message);
    EXPECT_EQ(message->kind, Kind::kPoint);
    EXPECT_EQ(message->total, 1000u);
    EXPECT_EQ(text_of(message->payload), text);
    b_->release();
  }
  EXPECT_FALSE(b_->try_receive().value().has_value());
}

TEST_P(LinkOf, ASenderThatRunsAheadIsToldToWaitAndLosesNothing) {
  std::vector<std::byte> payload(kMaxMessageBytes);
  uint8_t sent = 0;
  const auto send_next = [&] {
    std::fill(payload.begin(), payload.end(), std::byte(sent));
    return a_->try_send({Kind::kPoint, payload.size(), payload}).value();
  };
  while (send_next()) ASSERT_LT(++sent, 250) << "no bound on what is under way";
  bool blocked = true;  // message `sent` waits with us
  for (uint8_t received = 0; received < sent; ++received) {
    const Result<InMessage> message = receive(*b_);
    ASSERT_TRUE(message);
    ASSERT_EQ(message->payload.size(), kMaxMessageBytes);
    ASSERT_EQ(message->payload.front(), std::byte(received));
    ASSERT_EQ(message->payload.back(), std::byte(received));
    b_->release();
    if (blocked) blocked = !a_->try_send({Kind::kPoint, payload.size(), payload}).value();
  }
  while (blocked) blocked = !a_->try_send({Kind::kPoint, payload.size(), payload}).value();
  const Result<InMessage> last = receive(*b_);
  ASSERT_TRUE(last);
  EXPECT_EQ(last->payload.back(), std::byte(sent));
}

TEST_P(LinkOf, APayloadStaysUntilItIsReleased) {
  ASSERT_TRUE(a_->try_send({Kind::kPoint, 4, bytes_of("keep")}).value());
  const Result<InMessage> message = receive(*b_);
  ASSERT_TRUE(message);
  const std::vector<std::byte> other(kMaxMessageBytes, std::byte(9));
  for (int i = 0; i < 8 && a_->try_send({Kind::kPoint, other.size(), other}).value(); ++i) {
    ASSERT_TRUE(b_->check());
  }
  EXPECT_EQ(text_of(message->payload), "keep");
}

TEST_P(LinkOf, WhoWouldSleepIsWokenByWhatItWaitsFor) {
  const std::optional<pollfd> nothing = b_->arm({.receive = true});
  ASSERT_TRUE(nothing.has_value());
  pollfd watched = *nothing;
  EXPECT_EQ(poll(&watched, 1, 0), 0);
  ASSERT_TRUE(a_->try_send({Kind::kPoint, 2, bytes_of("up")}).value());
  EXPECT_EQ(poll(&watched, 1, 10'000), 1);
  b_->disarm();
  EXPECT_TRUE(b_->check());
  EXPECT_FALSE(b_->arm({.receive = true}).has_value()) << "it is here already";
  b_->disarm();
  EXPECT_EQ(text_of(receive(*b_)->payload), "up");
}

TEST_P(LinkOf, AnAbortTellsThePeerWhy) {
  ASSERT_TRUE(a_->try_send({Kind::kPoint, 4, bytes_of("last")}).value());
  a_->abort("the lamp went out");
  EXPECT_EQ(first_failed_check(*b_).message, "rank 0: gave up: the lamp went out")
      << "even before what came first";
  EXPECT_EQ(error_of(*b_).code, Code::kUnavailable);
  EXPECT_EQ(a_->try_send({Kind::kPoint, 4, bytes_of("more")}).error().code, Code::kUnavailable);
  EXPECT_EQ(a_->try_receive().error().code, Code::kUnavailable);
}

TEST_P(LinkOf, LeavingIsNoErrorUntilSomethingIsWanted) {
  ASSERT_TRUE(a_->try_send({Kind::kPoint, 4, bytes_of("last")}).value());
  a_.reset();
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(b_->check()) << b_->check().error().message;
  const Result<InMessage> message = receive(*b_);
  ASSERT_TRUE(message);
  EXPECT_EQ(text_of(message->payload), "last");
  b_->release();
  ASSERT_TRUE(b_->check());
  EXPECT_EQ(error_of(*b_).message, "rank 0: has left");
}

TEST(Header, IsCheckedFieldByField) {
  std::array<std::byte, Header::kBytes> bytes;
  const Header good{.sequence = 7, .total = 300, .length = 200, .kind = Kind::kBroadcast};
  const auto read = [&](Header header, uint64_t expected = 7) {
    write_header(header, bytes);
    return read_header(bytes, expected, "rank 1");
  };
  ASSERT_TRUE(read(good));
  EXPECT_EQ(read(good)->total, 300u);
  EXPECT_EQ(read(good, 8).error().message, "rank 1: message 7 came where 8 was due") << "a replay";
  Header bad = good;
  bad.length = 301;
  EXPECT_EQ(read(bad).error().code, Code::kDataLoss);
  bad = {.sequence = 7, .total = ~uint64_t{0}, .length = kMaxMessageBytes + 1};
  EXPECT_EQ(read(bad).error().code, Code::kDataLoss);
  for (const int kind : {0, static_cast<int>(Kind::kAgree) + 1, 65535}) {
    bad = good;
    bad.kind = static_cast<Kind>(kind);
    EXPECT_EQ(read(bad).error().code, Code::kDataLoss) << kind;
  }
}

TEST(Shm, MemoryOfAnotherSizeOrUnsealedIsRefused) {
  auto sockets = unix_pair();
  ASSERT_TRUE(sockets);
  const auto memory = create_shared_memory(4096);
  ASSERT_TRUE(memory);
  ASSERT_TRUE(send_fd(sockets->first, *memory));
  EXPECT_EQ(open_shm_link(std::move(sockets->second), {.name = "rank 0"}).error().code,
            Code::kDataLoss);
}

TEST(Shm, APeerThatHandsOverNothingIsATimeout) {
  auto sockets = unix_pair();
  ASSERT_TRUE(sockets);
  const Deadline deadline = Deadline::after(std::chrono::milliseconds(20));
  EXPECT_EQ(open_shm_link(std::move(sockets->second), {.name = "rank 0", .deadline = deadline})
                .error()
                .code,
            Code::kTimeout);
}

}  // namespace
}  // namespace cohort::transport
