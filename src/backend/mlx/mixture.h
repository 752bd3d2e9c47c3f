// Mixtures of experts over MLX: who is chosen, and the weighted sum of what the chosen give.
#pragma once

#include <optional>

#include "backend/backend.h"
#include "backend/mlx/weights.h"

namespace cohort::backend::mlx_parts {

struct Routes {
  mx::array experts;  // [rows, top_k]
  mx::array weights;  // [rows, top_k] float32
};

// `logits` [rows, experts] and `choice_bias` [experts] in float32: a choice is brittle.
Routes choose_experts(const mx::array& logits, const RouterSpec& spec,
                      const std::optional<mx::array>& choice_bias);

struct Bank {
  RowRange kept;  // experts; the others contribute nothing here
  int experts = 0;
  Activation activation = Activation::kSilu;
  Linear gate_up, down;  // gate above up
};
mx::array run_experts(const Bank& bank, const mx::array& x, const Routes& routes);

// act(first half of the columns) * second half.
mx::array gate_halves(Activation activation, const mx::array& both);
mx::array gate(Activation activation, const mx::array& g, const mx::array& u);

}  // namespace cohort::backend::mlx_parts
