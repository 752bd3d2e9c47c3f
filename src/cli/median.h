#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace cohort::cli {

inline double median(std::vector<double> values) {  // 0 of none
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

}  // namespace cohort::cli
