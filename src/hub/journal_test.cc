#include "hub/journal.h"

#include <cstdlib>
#include <fstream>

#include <gtest/gtest.h>

namespace cohort::hub {
namespace {

namespace fs = std::filesystem;

class JournalTest : public testing::Test {
 protected:
  JournalTest() {
    std::string name = (fs::temp_directory_path() / "cohort-journal-XXXXXX").string();
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  ~JournalTest() override { fs::remove_all(folder_); }

  fs::path folder_;
};

TEST_F(JournalTest, RemembersWhatWasWritten) {
  {
    auto journal = Journal::open(folder_);
    ASSERT_TRUE(journal);
    ASSERT_TRUE(
        journal->begin("a b.json", {.checksum = "abc", .size_bytes = 100, .chunk_bytes = 10}));
    ASSERT_TRUE(journal->chunk_written("a b.json", 3));
    ASSERT_TRUE(journal->chunk_written("a b.json", 7));
  }
  const auto journal = Journal::open(folder_);
  ASSERT_TRUE(journal);
  const Journal::File* file = journal->find("a b.json");
  ASSERT_NE(file, nullptr);
  EXPECT_EQ(file->checksum, "abc");
  EXPECT_EQ(file->size_bytes, 100u);
  EXPECT_EQ(file->chunk_bytes, 10u);
  EXPECT_EQ(file->chunks, (std::set<uint64_t>{3, 7}));
  EXPECT_FALSE(file->done);
}

TEST_F(JournalTest, ATornLastLineIsForgotten) {
  std::ofstream(folder_ / Journal::kUnfinished) << "file abc 100 10 a\nchunk 1 a\nchunk 2";
  {
    auto journal = Journal::open(folder_);
    ASSERT_TRUE(journal);
    EXPECT_EQ(journal->find("a")->chunks, (std::set<uint64_t>{1}));
    ASSERT_TRUE(journal->chunk_written("a", 5));
  }
  EXPECT_EQ(Journal::open(folder_)->find("a")->chunks, (std::set<uint64_t>{1, 5}));
}

TEST_F(JournalTest, ABeginningForgetsEarlierChunks) {
  auto journal = Journal::open(folder_);
  ASSERT_TRUE(journal->begin("a", {.checksum = "x", .size_bytes = 4, .chunk_bytes = 2}));
  ASSERT_TRUE(journal->chunk_written("a", 0));
  ASSERT_TRUE(journal->begin("a", {.checksum = "y", .size_bytes = 4, .chunk_bytes = 2}));
  EXPECT_TRUE(journal->find("a")->chunks.empty());
}

TEST_F(JournalTest, FinishedFilesStayKnown) {
  {
    auto journal = Journal::open(folder_);
    ASSERT_TRUE(journal->begin("a", {.checksum = "x", .size_bytes = 4, .chunk_bytes = 2}));
    ASSERT_TRUE(journal->done("a"));
    ASSERT_TRUE(journal->finish());
  }
  EXPECT_FALSE(fs::exists(folder_ / Journal::kUnfinished));
  EXPECT_TRUE(Journal::open(folder_)->find("a")->done);
}

TEST_F(JournalTest, GarbageIsNotBelieved) {
  std::ofstream(folder_ / Journal::kUnfinished)
      << "\n\nfile\nchunk x y\nwhat is this\nfile abc\n\x01\x02\n";
  const auto journal = Journal::open(folder_);
  ASSERT_TRUE(journal);
  EXPECT_EQ(journal->find("abc"), nullptr);
}

TEST_F(JournalTest, OnlyOneHasTheFolder) {
  const auto first = Journal::open(folder_);
  ASSERT_TRUE(first);
  EXPECT_EQ(Journal::open(folder_).error().code, Code::kUnavailable);
}

}  // namespace
}  // namespace cohort::hub
