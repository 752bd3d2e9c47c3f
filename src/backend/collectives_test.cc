// What a group's ranks exchange in a step, on each backend, over real links.
#include <gtest/gtest.h>

#include <array>

#include "backend/testing/backends.h"
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

using testing::TestBackend;

class Collectives : public ::testing::TestWithParam<std::tuple<TestBackend, int32_t>> {
 protected:
  static std::unique_ptr<Backend> make() { return std::get<0>(GetParam()).make(); }
  static int32_t rows() { return std::get<1>(GetParam()); }
};

TEST_P(Collectives, PiecesOfUnevenWidthReachTheFirstRankInOrder) {
  const int32_t rows = Collectives::rows();
  on_all_ranks({.size = 3}, [&](transport::Group& group) {
    const auto backend = make();
    backend->set_group(&group);
    const StepPlan plan = plan_of(rows);
    for (int step = 0; step < 2; ++step) {
      backend->begin_step(plan);
      if (group.rank() != 0) {
        for (const int32_t columns : kColumns)
          backend->send(0, backend->input(part_of(group.rank(), rows, columns), columns));
        ASSERT_TRUE(backend->finish());
        continue;
      }
      std::vector<Tensor> pieces;
      for (const int32_t columns : kColumns) {
        for (int rank = 1; rank < 3; ++rank)
          pieces.push_back(backend->receive(rank, rows, columns));
      }
      for (size_t i = 0; i < pieces.size(); ++i) {
        std::vector<float> values(static_cast<size_t>(rows) * pieces[i].columns);
        ASSERT_TRUE(backend->read(pieces[i], values));
        EXPECT_EQ(values, part_of(1 + static_cast<int>(i) % 2, rows, pieces[i].columns)) << i;
      }
    }
  });
}

TEST_P(Collectives, SumsAreOfWholeRowsWhateverTheirStride) {
  const int32_t rows = Collectives::rows();
  on_all_ranks({.size = 3}, [&](transport::Group& group) {
    const auto backend = make();
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

TEST_P(Collectives, WhatWasMadeOfTheValuesBeforeKeepsThem) {
  on_all_ranks({.size = 2}, [&](transport::Group& group) {
    const auto backend = make();
    backend->set_group(&group);
    const StepPlan plan = plan_of(rows());
    const std::vector<float> part = part_of(group.rank(), rows(), 8);
    backend->begin_step(plan);
    Tensor x = backend->input(part, 8);
    const std::array parts = {x};
    const Tensor before = backend->concat(parts);
    backend->all_sum(x);
    std::vector<float> values(part.size());
    ASSERT_TRUE(backend->read(before, values));
    EXPECT_EQ(values, part);
  });
}

TEST_P(Collectives, HappenThoughNobodyReadsWhatTheyGive) {
  on_all_ranks({.size = 2}, [&](transport::Group& group) {
    // One rank's caller wants no result; the other's would wait for ever if a lazy backend left the exchange out.
    const auto backend = make();
    backend->set_group(&group);
    const StepPlan plan = plan_of(rows());
    backend->begin_step(plan);
    Tensor x = backend->input(part_of(group.rank(), rows(), 8), 8);
    backend->all_sum(x);
    std::vector<float> sums(static_cast<size_t>(rows()) * 8);
    ASSERT_TRUE(group.rank() == 0 ? backend->finish() : backend->read(x, sums));
  });
}

std::string name_of(const ::testing::TestParamInfo<std::tuple<TestBackend, int32_t>>& test) {
  return fmt::format("{}_{}", std::get<0>(test.param).name, std::get<1>(test.param));
}
INSTANTIATE_TEST_SUITE_P(Rows, Collectives,
                         ::testing::Combine(::testing::ValuesIn(testing::exact_backends()),
                                            ::testing::Values(1, 2, 9)),
                         name_of);

class CollectivesDeath : public ::testing::TestWithParam<TestBackend> {};

TEST_P(CollectivesDeath, APeerThatLeavesIsTheErrorOfThisStepAndAllLaterOnes) {
  on_all_ranks({.size = 2}, [](transport::Group& group) {
    if (group.rank() == 1) return;
    const auto backend = GetParam().make();
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

INSTANTIATE_TEST_SUITE_P(All, CollectivesDeath, ::testing::ValuesIn(testing::exact_backends()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace cohort::backend
