#include "runner/frames.h"

#include <gtest/gtest.h>

#include "base/bytes.h"

namespace cohort::runner {
namespace {

TEST(Frames, SurviveBeingCutAtEveryByte) {
  const std::string bytes = encode_frame(FrameType::kCancel, RequestRef{.id = 7}).value() +
                            encode_frame(FrameType::kCancel, RequestRef{.id = 1ull << 60}).value();
  FrameDecoder decoder;
  std::vector<uint64_t> ids;
  for (const char byte : bytes) {
    decoder.append(std::string_view(&byte, 1));
    const auto frame = decoder.next();
    ASSERT_TRUE(frame) << frame.error().message;
    if (*frame) ids.push_back(from_json<RequestRef>((*frame)->body).value().id);
  }
  EXPECT_EQ(ids, (std::vector<uint64_t>{7, 1ull << 60}));
  EXPECT_EQ(decoder.buffered_bytes(), 0u);
}

TEST(Frames, ALyingLengthIsRefusedBeforeItIsBuffered) {
  std::string bytes(4, '\0');
  store(bytes.data(), kMaxFrameBytes + 1);
  FrameDecoder decoder;
  decoder.append(bytes);
  EXPECT_EQ(decoder.next().error().code, Code::kDataLoss);
}

TEST(Frames, AnUnknownTypeAndMalformedJsonAreRefused) {
  FrameDecoder unknown;
  unknown.append(std::string("\x03\0\0\0\x77{}", 7));
  EXPECT_EQ(unknown.next().error().code, Code::kDataLoss);
  FrameDecoder malformed;
  malformed.append(std::string("\x03\0\0\0\x06{]", 7));
  EXPECT_EQ(malformed.next().error().code, Code::kDataLoss);
}

TEST(Frames, TextThatIsNotUtf8StaysSendable) {
  const auto bytes = encode_frame(FrameType::kDelta, GenerateDelta{.id = 1, .text = "a\xff"});
  FrameDecoder decoder;
  decoder.append(bytes.value());
  const auto frame = decoder.next();
  ASSERT_TRUE(frame && *frame);
  EXPECT_EQ(from_json<GenerateDelta>((*frame)->body)->text, "a\xef\xbf\xbd");
}

}  // namespace
}  // namespace cohort::runner
