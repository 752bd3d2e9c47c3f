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

TEST(Kernels, TheBestTableIsTheLast) { EXPECT_EQ(&best_kernels(), available_kernels().back()); }

}  // namespace
}  // namespace cohort::kernels
