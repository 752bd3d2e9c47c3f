#include "runner/halves_choice.h"

#include <gtest/gtest.h>

namespace cohort::runner {
namespace {

// Steps that take so long a row; returns how many of them ran in halves.
int run(HalvesChoice& choice, int steps, double whole_s, double halves_s) {
  int in_halves = 0;
  for (int i = 0; i < steps; ++i) {
    const bool next = choice.next();
    choice.ran(next, next ? halves_s : whole_s);
    in_halves += next;
  }
  return in_halves;
}

TEST(HalvesChoice, TriesBothAndKeepsTheFaster) {
  HalvesChoice slow_link, fast_link;
  EXPECT_EQ(run(slow_link, 20, 2e-3, 1e-3), 19);
  EXPECT_EQ(run(fast_link, 20, 1e-3, 2e-3), 1);
}

TEST(HalvesChoice, FindsOutWhenTheOtherHasBecomeFaster) {
  HalvesChoice choice;
  run(choice, 20, 1e-3, 2e-3);
  EXPECT_EQ(run(choice, 3 * HalvesChoice::kLookAgain, 2e-3, 1e-3) > HalvesChoice::kLookAgain, true);
}

TEST(HalvesChoice, LooksAfterTheSlowerOneRarely) {
  HalvesChoice choice;
  EXPECT_EQ(run(choice, 10 * HalvesChoice::kLookAgain, 1e-3, 2e-3), 10);
}

}  // namespace
}  // namespace cohort::runner
