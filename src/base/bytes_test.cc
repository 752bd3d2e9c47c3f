#include "base/bytes.h"

#include <gtest/gtest.h>

namespace cohort {
namespace {

TEST(Bytes, SizesAreReadAsPeopleWriteThem) {
  EXPECT_EQ(parse_bytes("4096").value(), 4096u);
  EXPECT_EQ(parse_bytes("8GiB").value(), 8ull << 30);
  EXPECT_EQ(parse_bytes("8 g").value(), 8ull << 30);
  EXPECT_EQ(parse_bytes("1.5K").value(), 1536u);
  EXPECT_EQ(parse_bytes("500MB").value(), 500'000'000u);
}

TEST(Bytes, NonsenseSizesAreRefusedWithTheText) {
  for (const char* text : {"", "GiB", "-1", "8XB", "8GiBs", "1e30"}) {
    const auto parsed = parse_bytes(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().code, Code::kInvalidArgument);
  }
}

TEST(Bytes, SizesPrintInTheLargestFittingUnit) {
  EXPECT_EQ(format_bytes(12), "12 B");
  EXPECT_EQ(format_bytes(1536), "1.5 KiB");
  EXPECT_EQ(format_bytes(24ull << 30), "24 GiB");
}

TEST(Bytes, OverflowIsReported) {
  EXPECT_EQ(checked_add<uint64_t>(1, 2), 3u);
  EXPECT_FALSE(checked_add<uint64_t>(~0ull, 1));
  EXPECT_FALSE(checked_multiply<uint64_t>(1ull << 40, 1ull << 40));
}

TEST(Bytes, HexadecimalGoesThereAndBackInLowerCaseOnly) {
  const std::string bytes("\x00\x7f\xa5\xff", 4);
  EXPECT_EQ(to_hex(bytes), "007fa5ff");
  EXPECT_EQ(from_hex("007fa5ff"), bytes);
  EXPECT_EQ(from_hex(""), "");
  for (const char* nonsense : {"0", "0g", "A5", "a5 ", "0x"})
    EXPECT_FALSE(from_hex(nonsense)) << nonsense;
}

}  // namespace
}  // namespace cohort
