// The experts of a mixture layer: only those that some row chose are read.
#pragma once

#include <vector>

#include "backend/cpu/products.h"

namespace cohort::backend {

struct Bank {
  int32_t first = 0;             // expert of gate_up[0]; others than these contribute nothing
  std::vector<Weights> gate_up;  // gate above up
  std::vector<Weights> down;
  Activation activation = Activation::kSilu;
};

// y[row] = sum over the row's experts of weight * expert(x[row]), added up in the order of experts, whatever other rows
// there are.
void run_experts(const Compute& compute, const Bank& bank, const Routes& routes, Rows x, Rows y);

}  // namespace cohort::backend
