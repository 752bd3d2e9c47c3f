// What the ranks of a tensor group exchange in the middle of a step.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "backend/cpu/activations.h"
#include "base/result.h"
#include "transport/group.h"

namespace cohort::backend {

class Collectives {
 public:
  // Of one exchange, while every peer is alive: the slowest device's share of the longest chunk. A dead peer ends it at
  // once.
  static constexpr std::chrono::minutes kLimit{5};

  void set_group(transport::Group* group) { group_ = group; }
  bool alone() const { return group_ == nullptr || group_->size() == 1; }

  void all_sum(Rows values);
  // `all` becomes the ranks' parts side by side; columns[r] are rank r's, and `part` is our own.
  void all_gather(Rows part, std::span<const int32_t> columns, Rows all);

  // The first error; after it the others do nothing.
  Result<void> status() const;

 private:
  void keep(Result<void> done);

  transport::Group* group_ = nullptr;
  std::optional<Error> error_;
  std::vector<float> packed_;  // rows without the gaps between them
  std::vector<size_t> sizes_;  // of the parts, in bytes
};

}  // namespace cohort::backend
