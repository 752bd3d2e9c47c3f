// What the ranks of a tensor group exchange, as nodes of MLX's graph: they run on MLX's CPU stream when the values are
// there, in the order they were recorded, while the GPU's stream waits for them.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "backend/mlx/core.h"
#include "transport/group.h"

namespace cohort::backend::mlx_parts {

class Exchanges {
 public:
  void set_group(transport::Group* group);
  bool alone() const;

  // Of float32 [rows, columns].
  mx::array all_sum(const mx::array& x);
  // The ranks' parts; columns[r] are rank r's.
  std::vector<mx::array> all_gather(const mx::array& part, std::span<const int32_t> columns);

  // What must be evaluated for all exchanges so far to happen.
  void append_to(std::vector<mx::array>& outputs) const;
  // Once they have: the first error; after it the others do nothing.
  Result<void> status() const;

  struct State;

 private:
  mx::array chain(mx::array made);

  std::shared_ptr<State>
      state_;  // with the nodes; only one side uses it at a time: MLX's evaluation orders them
  std::optional<mx::array> last_;
};

}  // namespace cohort::backend::mlx_parts
