#include "backend/cpu/read_ahead.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

namespace cohort::backend {
namespace {

constexpr int kWorkers = 2;
constexpr int64_t kMostBytes = 64 << 10;

// Products that stand for themselves, each of so many bytes a worker.
class Model {
 public:
  explicit Model(std::vector<int64_t> sizes) : sizes_(std::move(sizes)) {}

  void begin(ReadAhead& ahead, size_t product) const {
    ahead.begin(&sizes_[product], [&] {
      const Stretch stretch{bytes_.data(), sizes_[product]};
      return std::vector<Stretch>(kWorkers, stretch);
    });
  }
  void step(ReadAhead& ahead) const {
    for (size_t product = 0; product < sizes_.size(); ++product) begin(ahead, product);
  }

 private:
  std::vector<int64_t> sizes_;
  std::vector<std::byte> bytes_ = std::vector<std::byte>(10 * kMostBytes);
};

int64_t fetch_all(ReadAhead& ahead, int worker) {
  int64_t all = 0;
  while (const int64_t bytes = ahead.fetch(worker)) all += bytes;
  return all;
}

TEST(ReadAhead, FetchesWhatFollowedInTheStepsBefore) {
  ReadAhead ahead(kWorkers, kMostBytes);
  const Model model({100, 9000, 20000});
  model.begin(ahead, 0);
  EXPECT_EQ(fetch_all(ahead, 0), 0) << "nothing is known yet";
  model.step(ahead);
  model.step(ahead);
  model.begin(ahead, 0);
  EXPECT_EQ(fetch_all(ahead, 0), 9000);
  model.begin(ahead, 1);
  EXPECT_EQ(fetch_all(ahead, 1), 20000);
  model.begin(ahead, 2);
  EXPECT_EQ(fetch_all(ahead, 0), 100) << "the next step's first";
}

TEST(ReadAhead, FetchesEachByteOnceAndForEveryWorker) {
  ReadAhead ahead(kWorkers, kMostBytes);
  const Model model({100, 9000});
  for (int i = 0; i < 3; ++i) model.step(ahead);
  model.begin(ahead, 0);
  EXPECT_GT(ahead.fetch(0), 0);
  EXPECT_EQ(fetch_all(ahead, 1), 9000);
  fetch_all(ahead, 0);
  EXPECT_EQ(ahead.fetch(0), 0);
}

TEST(ReadAhead, FetchesNoMoreThanACacheKeeps) {
  ReadAhead ahead(kWorkers, kMostBytes);
  const Model model({100, 10 * kMostBytes});
  for (int i = 0; i < 3; ++i) model.step(ahead);
  model.begin(ahead, 0);
  EXPECT_EQ(fetch_all(ahead, 0), kMostBytes);
}

TEST(ReadAhead, LeavesAloneWhatChangesFromStepToStep) {
  ReadAhead ahead(kWorkers, kMostBytes);
  const Model model({100, 9000, 20000});
  for (int i = 0; i < 3; ++i) {  // 0 is followed by 1 and by 2 in turns
    model.begin(ahead, 0);
    EXPECT_EQ(fetch_all(ahead, 0), 0);
    model.begin(ahead, 1);
    model.begin(ahead, 0);
    EXPECT_EQ(fetch_all(ahead, 0), 0);
    model.begin(ahead, 2);
  }
}

TEST(ReadAhead, RestsWhilePaused) {
  ReadAhead ahead(kWorkers, kMostBytes);
  const Model model({100, 9000});
  for (int i = 0; i < 3; ++i) model.step(ahead);
  model.begin(ahead, 0);
  ahead.pause();
  EXPECT_EQ(fetch_all(ahead, 0), 0);
  model.begin(ahead, 0);
  EXPECT_EQ(fetch_all(ahead, 0), 9000) << "what was known before";
}

}  // namespace
}  // namespace cohort::backend
