#include "assets/assets.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>

namespace cohort::assets {
namespace {

TEST(Assets, AFileInTheBinaryIsTheFileInTheTree) {
  std::ifstream file(COHORT_SOURCE_DIR "/resources/demo/config.json", std::ios::binary);
  const std::string expected((std::istreambuf_iterator<char>(file)), {});
  ASSERT_FALSE(expected.empty());
  EXPECT_EQ(find("demo/config.json"), expected);
}

TEST(Assets, UnknownNamesAreNotFound) { EXPECT_FALSE(find("demo/nothing")); }

TEST(Assets, NamesAreListedByPrefix) {
  const auto names = names_below("demo/");
  EXPECT_NE(std::find(names.begin(), names.end(), "demo/model.safetensors"), names.end());
  for (const auto name : names) EXPECT_TRUE(name.starts_with("demo/"));
}

}  // namespace
}  // namespace cohort::assets
