#include "cli/read_times.h"

#include <gtest/gtest.h>

namespace cohort::cli {
namespace {

constexpr double kBytes = 400e6;

// So many reads beside memory that varies, each with the same work of its own.
ReadTimes times_with(double own_s, double bytes = kBytes) {
  ReadTimes times(bytes);
  for (const double memory : {20e9, 18e9, 15e9, 19e9, 17e9})
    times.add(own_s + bytes / memory, memory);
  return times;
}

TEST(ReadTimes, AKernelsOwnWorkIsFoundBesideMemoryThatVaries) {
  EXPECT_NEAR(times_with(3e-3).beside_memory_s(), 3e-3, 1e-9);
  EXPECT_NEAR(times_with(3e-3).bytes_per_s(20e9, 1e-3), kBytes / (2e-3 + kBytes / 20e9), 1);
}

TEST(ReadTimes, ABadMomentDecidesNothing) {
  ReadTimes times = times_with(3e-3);
  times.add(90e-3, 18e9);  // the kernel was disturbed
  times.add(25e-3, 9e9);   // the look was
  EXPECT_NEAR(times.beside_memory_s(), 3e-3, 1e-9);
}

TEST(ReadTimes, NoneBeatsMemory) {
  EXPECT_NEAR(times_with(-2e-3).bytes_per_s(20e9, 0), 20e9, 1);
  EXPECT_NEAR(times_with(1e-3).bytes_per_s(20e9, 2e-3), 20e9, 1);
}

TEST(ReadTimes, WithoutLooksATimeIsTakenAsItIs) {
  ReadTimes times(kBytes);
  times.add(20e-3, 0);
  EXPECT_NEAR(times.bytes_per_s(0, 4e-3), kBytes / 16e-3, 1);
  EXPECT_NEAR(times.bytes_per_s(0, 19e-3), kBytes / 10e-3, 1) << "half of it is reading, at least";
  EXPECT_NEAR(times.bytes_per_s(20e9, 4e-3), kBytes / 16e-3, 1) << "nobody looked";
}

TEST(ReadTimes, TimesThatCannotBeToldApartGiveNoRate) {
  ReadTimes differences(kBytes);
  differences.add(-1e-3, 0);
  EXPECT_EQ(differences.bytes_per_s(0, 0), 0);
}

TEST(ReadTimes, ALayersOwnTimeIsWhatManySlimOnesTakeMore) {
  constexpr double kLayerS = 40e-6, kByteS = 5e-12;
  const auto model = [](int layers, double bytes) {
    return times_with(layers * kLayerS + bytes * kByteS, bytes);
  };
  EXPECT_NEAR(layer_seconds(model(46, 390e6), 46, model(12, 410e6), 12), kLayerS, 1e-9);
}

}  // namespace
}  // namespace cohort::cli
