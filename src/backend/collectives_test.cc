// What a group's ranks exchange in a step, on each backend, over real links.
#include <gtest/gtest.h>

#include <numeric>

#include "backend/cpu/cpu_backend.h"
#include "transport/testing/ranks.h"

namespace cohort::backend {
namespace {

using transport::testing::on_all_ranks;
using transport::testing::value_of;

StepPlan plan_of(int32_t rows) {
  StepPlan plan;
  plan.tokens.resize(static_cast<size_t>(rows));
  plan.runs.push_back({.rows = rows, .pages = {0}});
  return plan;
}

// Columns as uneven fractions give them, of rank r; 16 floats fill a cache line, so rows of these have gaps between them.
constexpr int32_t kColumns[] = {5, 48, 17};

std::vector<float> part_of(int rank, int32_t rows, int32_t columns) {
  std::vector<float> values(static_cast<size_t>(rows) * columns);
  for (size_t i = 0; i < values.size(); ++i) values[i] = value_of(rank, i);
  return values;
}

class Collectives : public ::testing::TestWithParam<int32_t> {};

TEST_P(Collectives, PartsOfUnevenWidthAreJoinedRowByRow) {
  const int32_t rows = GetParam();
  on_all_ranks({.size = 3}, [&](transport::Group& group) {
    const auto backend = make_cpu_backend({.threads = 1});
    backend->set_group(&group);
    const StepPlan plan = plan_of(rows);
    const int32_t own = kColumns[group.rank()], total = std::accumulate(kColumns, kColumns + 3, 0);
    for (int step = 0; step < 2; ++step) {
      backend->begin_step(plan);
      const Tensor x = backend->input(part_of(group.rank(), rows, own), own);
      const Tensor y = backend->all_gather(x, kColumns);
      ASSERT_EQ(y.columns, total);
      std::vector<float> all(static_cast<size_t>(rows) * total);
      ASSERT_TRUE(backend->read(y, all));
      for (int32_t row = 0; row < rows; ++row) {
        size_t at = static_cast<size_t>(row) * total;
        for (int rank = 0; rank < 3; ++rank) {
          for (int32_t c = 0; c < kColumns[rank]; ++c) {
            const auto index = static_cast<size_t>(row * kColumns[rank] + c);
            ASSERT_EQ(all[at++], value_of(rank, index)) << rank << " " << row << " " << c;
          }
        }
      }
    }
  });
}

TEST_P(Collectives, SumsAreOfWholeRowsWhateverTheirStride) {
  const int32_t rows = GetParam();
  on_all_ranks({.size = 3}, [&](transport::Group& group) {
    const auto backend = make_cpu_backend({.threads = 1});
    backend->set_group(&group);
    const StepPlan plan = plan_of(rows);
    for (const int32_t columns : kColumns) {
      backend->begin_step(plan);
      Tensor x = backend->input(part_of(group.rank(), rows, columns), columns);
      backend->all_sum(x);
      std::vector<float> sums(static_cast<size_t>(rows) * columns);
      ASSERT_TRUE(backend->read(x, sums));
      for (size_t i = 0; i < sums.size(); ++i)
        ASSERT_EQ(sums[i], value_of(0, i) + value_of(1, i) + value_of(2, i)) << i;
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Rows, Collectives, ::testing::Values(1, 2, 9));

TEST(CollectivesDeath, APeerThatLeavesIsTheErrorOfThisStepAndAllLaterOnes) {
  on_all_ranks({.size = 2}, [](transport::Group& group) {
    if (group.rank() == 1) return;
    const auto backend = make_cpu_backend({.threads = 1});
    backend->set_group(&group);
    const StepPlan plan = plan_of(1);
    backend->begin_step(plan);
    EXPECT_TRUE(backend->finish());
    std::vector<float> values(4);
    Tensor x = backend->input(values, 4);
    backend->all_sum(x);
    const auto read = backend->read(x, values);
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().code, Code::kUnavailable);
    EXPECT_NE(read.error().message.find("rank 1"), std::string::npos) << read.error().message;
    backend->begin_step(plan);
    EXPECT_EQ(backend->finish().error().message, read.error().message);
  });
}

}  // namespace
}  // namespace cohort::backend
