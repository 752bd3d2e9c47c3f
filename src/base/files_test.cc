#include "base/files.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <fstream>
#include <iterator>

namespace cohort {
namespace {

namespace fs = std::filesystem;

class Files : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "cohort-files-XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
  }
  void TearDown() override { fs::remove_all(folder_); }

  static std::string text_of(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  size_t count() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(folder_), {}));
  }

  fs::path folder_;
};

TEST_F(Files, AFileIsWrittenWithItsFolderAndItsMode) {
  const fs::path path = folder_ / "a" / "b" / "file";
  ASSERT_TRUE(write_file(path, "one\n", 0600));
  EXPECT_EQ(text_of(path), "one\n");
  struct stat status {};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  ASSERT_TRUE(write_file(path, "two\n", 0600));
  EXPECT_EQ(text_of(path), "two\n");
}

TEST_F(Files, WhatDoesNotFitLeavesTheOldFileAndNothingElse) {
  const fs::path path = folder_ / "file";
  ASSERT_TRUE(write_file(path, "old"));
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{.rlim_cur = 4096, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto written = write_file(path, std::string(10'000, 'x'));
  ::setrlimit(RLIMIT_FSIZE, &before);
  ::signal(SIGXFSZ, handler);
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, Code::kUnavailable);
  EXPECT_NE(written.error().message.find(path.string()), std::string::npos);
  EXPECT_EQ(text_of(path), "old");
  EXPECT_EQ(count(), 1u);
}

TEST_F(Files, AFileWhereTheFolderShouldBeIsAnError) {
  ASSERT_TRUE(write_file(folder_ / "file", "x"));
  EXPECT_FALSE(write_file(folder_ / "file" / "below", "y"));
  EXPECT_EQ(count(), 1u);
}

}  // namespace
}  // namespace cohort
