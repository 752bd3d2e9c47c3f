#include "kernels/kernels.h"

#include <gtest/gtest.h>

#include <set>

namespace cohort::kernels {
namespace {

TEST(Kernels, TheScalarTableIsAlwaysThere) {
  ASSERT_FALSE(available_kernels().empty());
  EXPECT_EQ(available_kernels().front()->isa, Isa::kScalar);
}

TEST(Kernels, EachTableIsFoundByItsOwnName) {
  std::set<std::string_view> names;
  for (const Kernels* kernels : available_kernels()) {
    EXPECT_TRUE(names.insert(kernels->name).second) << kernels->name;
    EXPECT_EQ(find_kernels(kernels->name), kernels);
  }
  EXPECT_EQ(find_kernels("mmx"), nullptr);
}

TEST(Kernels, TheBestTableIsTheLastThatNeedNotBeAskedFor) {
  const auto tables = available_kernels();
  const bool has_amx = tables.back()->isa == Isa::kAmx;
  EXPECT_EQ(&best_kernels(), tables[tables.size() - (has_amx ? 2 : 1)]);
}

}  // namespace
}  // namespace cohort::kernels
