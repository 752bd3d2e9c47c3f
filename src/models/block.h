// What a decoder is made of.
#pragma once

#include <memory>

#include "backend/backend.h"

namespace cohort::models {

using backend::Backend;
using backend::Tensor;

// Attention or a feed-forward: from the normed stream [rows, width] to what is added to it [rows, width], whole on every
// rank of the group.
class Block {
 public:
  virtual ~Block() = default;
  virtual Tensor forward(Backend& backend, Tensor x) const = 0;
};

// A layer: changes the residual stream `h` [rows, width] in place.
class Layer {
 public:
  virtual ~Layer() = default;
  virtual void forward(Backend& backend, Tensor& h) const = 0;
};

}  // namespace cohort::models
