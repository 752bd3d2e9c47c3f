// What the ops mean, in the plainest code: what backends are tested against, and what the lazy backend evaluates with.
#pragma once

#include <cstdint>
#include <vector>

#include "backend/backend.h"

namespace cohort::backend::testing {

using Values = std::vector<float>;

double dot(const float* a, const float* b, int64_t size);
double sigmoid(double x);
double gate(Activation activation, double g, double u);

// The weight of each expert for one row of router logits; 0 for those not chosen. Equal scores: the first is taken.
Values expert_weights(const RouterSpec& spec, const Values& logits, const Values& choice_bias);

}  // namespace cohort::backend::testing
