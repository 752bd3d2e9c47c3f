#include "backend/mlx/columns.h"

#include <algorithm>

#include "base/check.h"

namespace cohort::backend::mlx_parts {

mx::array columns_of(const mx::array& x, int first, int count) {
  if (count == x.shape(1)) return x;
  return mx::slice(x, {0, first}, {x.shape(0), first + count});
}

std::vector<mx::array> Columns::cut(int first, int count) const {
  std::vector<mx::array> found;
  int start = 0;
  for (const mx::array& part : parts_) {
    const int from = std::max(first - start, 0);
    const int to = std::min(first + count - start, part.shape(1));
    if (from < to) found.push_back(columns_of(part, from, to - from));
    start += part.shape(1);
  }
  COHORT_CHECK(first >= 0 && first + count <= start);
  return found;
}

mx::array Columns::take(int first, int count) const {
  std::vector<mx::array> found = cut(first, count);
  return found.size() == 1 ? found[0] : mx::concatenate(std::move(found), 1);
}

void Columns::replace(int first, const mx::array& part) {
  int total = 0;
  for (const mx::array& one : parts_) total += one.shape(1);
  const int after = first + part.shape(1);
  std::vector<mx::array> made = cut(0, first);
  made.push_back(part);
  for (mx::array& rest : cut(after, total - after)) made.push_back(std::move(rest));
  parts_ = std::move(made);
}

}  // namespace cohort::backend::mlx_parts
