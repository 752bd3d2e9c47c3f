#include "tensor/tensor_view.h"

#include <fmt/format.h>

namespace cohort {

std::string Shape::to_string() const {
  std::string text = "[";
  for (int i = 0; i < rank_; ++i) text += fmt::format("{}{}", i ? ", " : "", dims_[i]);
  return text + "]";
}

}  // namespace cohort
