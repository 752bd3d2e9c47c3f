// Runs one function on every rank of a local group, a thread each.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <thread>
#include <vector>

#include "transport/local_groups.h"

namespace cohort::transport::testing {

inline Deadline soon() { return Deadline::after(std::chrono::seconds(60)); }

inline void on_all_ranks(const LocalGroupOptions& options,
                         const std::function<void(Group&)>& body) {
  auto groups = make_local_groups(options);
  ASSERT_TRUE(groups) << groups.error().message;
  std::vector<std::thread> threads;
  for (auto& group : *groups) {
    threads.emplace_back([&body, own = std::move(group)] { body(*own); });
  }
  for (std::thread& thread : threads) thread.join();
}

// A value for (rank, index) that is not exact in bf16 and whose sums depend on their order.
inline float value_of(int rank, size_t index) {
  const uint32_t mixed =
      (static_cast<uint32_t>(index) * 2654435761u) ^ (static_cast<uint32_t>(rank + 1) * 40503u);
  return (static_cast<float>(mixed % 20011) - 10005.0f) * 1.7e-3f *
         static_cast<float>(1 + rank * rank);
}

inline std::vector<float> values_of(int rank, size_t count) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = value_of(rank, i);
  return values;
}

}  // namespace cohort::transport::testing
