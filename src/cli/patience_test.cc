#include "cli/patience.h"

#include <gtest/gtest.h>

namespace cohort::cli {
namespace {

using std::chrono::seconds;

// Stands still until work moves it.
struct Hands {
  using time_point = std::chrono::steady_clock::time_point;
  static time_point now() { return at; }
  static inline time_point at;
};

Result<double> median_of(const Patience& patience, std::chrono::duration<double> each, int& made) {
  return median_seconds<Hands>(patience, [&]() -> Result<void> {
    ++made;
    Hands::at += std::chrono::duration_cast<Hands::time_point::duration>(each);
    return {};
  });
}

TEST(Patience, QuickWorkIsDoneAsOftenAsWanted) {
  int made = 0;
  EXPECT_NEAR(
      median_of({.tries = 40, .most = seconds(2)}, std::chrono::milliseconds(1), made).value(),
      1e-3, 1e-9);
  EXPECT_EQ(made, 45);  // with the first, which warm up
}

TEST(Patience, SlowWorkIsDoneLessOften) {
  int made = 0;
  EXPECT_NEAR(
      median_of({.tries = 40, .most = seconds(2)}, std::chrono::milliseconds(300), made).value(),
      0.3, 1e-9);
  EXPECT_EQ(made, 7);
}

TEST(Patience, WorkThatTakesLongerThanAllThereIsIsDoneOnce) {
  int made = 0;
  EXPECT_NEAR(median_of({.tries = 40, .most = seconds(2)}, seconds(9), made).value(), 9, 1e-9);
  EXPECT_EQ(made, 1);
}

TEST(Patience, WorkThatFailsEndsTheMeasurement) {
  const auto measured = median_seconds<Hands>(
      {}, []() -> Result<void> { return fail(Code::kUnavailable, "the device is gone"); });
  ASSERT_FALSE(measured);
  EXPECT_EQ(measured.error().message, "the device is gone");
}

TEST(Deadline, WhenItIsOverTheErrorSaysWhatToDo) {
  const Deadline<Hands> deadline(seconds(60));
  Hands::at += seconds(59);
  EXPECT_TRUE(deadline.check("q8"));
  Hands::at += seconds(1);
  const auto late = deadline.check("q8");
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Code::kUnavailable);
  EXPECT_NE(late.error().message.find("before q8"), std::string::npos);
  EXPECT_NE(late.error().message.find("--backend"), std::string::npos);
}

}  // namespace
}  // namespace cohort::cli
