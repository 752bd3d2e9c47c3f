// What a decoder is made of.
#pragma once

#include <memory>

#include "backend/backend.h"

namespace cohort::models {

using backend::Backend;
using backend::Tensor;

// Attention or a feed-forward: from the normed stream [rows, width] to this rank's part of what is added to it
// [rows, width]; the parts of a tensor group's ranks sum up to it.
class Block {
 public:
  virtual ~Block() = default;
  virtual Tensor forward(Backend& backend, Tensor x) const = 0;
};

// A layer: blocks, one after the other, each of which adds to the residual stream `h` [rows, width].
class Layer {
 public:
  virtual ~Layer() = default;
  virtual int blocks() const = 0;
  virtual Tensor forward(Backend& backend, int block, Tensor h) const = 0;  // this rank's part
};

}  // namespace cohort::models
