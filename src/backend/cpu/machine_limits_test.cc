#include "backend/cpu/machine_limits.h"

#include <gtest/gtest.h>

namespace cohort::backend {
namespace {

class MemoryReaderOf : public ::testing::TestWithParam<int> {};

// Pieces are as large as the threads are many, and need not divide the buffer.
TEST_P(MemoryReaderOf, ReadsAllPiecesAndEnds) {
  auto reader = MemoryReader::create(GetParam());
  ASSERT_TRUE(reader) << reader.error().message;
  EXPECT_GT(reader->bytes_per_s(), 0);
}

INSTANTIATE_TEST_SUITE_P(Threads, MemoryReaderOf, ::testing::Values(1, 2, 3, 5));

}  // namespace
}  // namespace cohort::backend
