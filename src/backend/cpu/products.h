// Products of activations with packed weights, shared out among the workers by the bytes they read.
#pragma once

#include <optional>
#include <span>

#include "backend/cpu/compute.h"
#include "backend/cpu/weights.h"

namespace cohort::backend {

// y = W x + bias for each row; with `gate`, y = act(first half of that) * second half, in one pass over weights that are
// paired. y may not overlap x.
struct Product {
  const Weights* weights = nullptr;
  Rows x;
  Rows y;
  std::optional<Activation> gate;
};

// One that every step has, in its place among the others.
void multiply(const Compute& compute, const Product& product);
// All products side by side: none may read what another writes. Other steps may have others.
void multiply(const Compute& compute, std::span<const Product> products, Math math);

}  // namespace cohort::backend
