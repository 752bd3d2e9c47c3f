// A step in two halves of its rows: one is computed while the other's sums travel between the ranks of a tensor group. Only
// attention looks at other rows, and only at earlier ones, whose keys and values are in the cache by then.
#pragma once

#include <array>
#include <memory>
#include <span>

#include "backend/backend.h"
#include "models/block.h"

namespace cohort::models {

using Halves = std::array<backend::StepPlan, 2>;

inline constexpr size_t kRowsWorthHalving = 128;  // halves of fewer are multiplied much slower

// Are all wanted logits of the second half?
bool can_be_halved(const backend::StepPlan& plan);

// The plan's first rows, and the others, each as a plan of its own. The plan can be halved.
Halves halves_of(const backend::StepPlan& plan);

// Runs the residual streams of the halves, changed in place, through the layers. `halves` outlives the step.
void run_in_halves(backend::Backend& backend, std::span<const std::unique_ptr<Layer>> layers,
                   const Halves& halves, std::array<Tensor, 2>& streams);

}  // namespace cohort::models
