// Ranges of checkpoint matrices, as every backend reads them.
#pragma once

#include "backend/backend.h"
#include "base/check.h"

namespace cohort::backend {

// What `range` of `size` means, with its count filled in.
inline RowRange resolve(RowRange range, int64_t size) {
  if (range.count < 0) range.count = size - range.first;
  COHORT_CHECK(range.first >= 0 && range.count > 0 && range.first + range.count <= size);
  return range;
}

}  // namespace cohort::backend
