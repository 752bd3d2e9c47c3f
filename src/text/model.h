// The last step of encoding: words -> ids.
#pragma once

#include <vector>

#include "text/pre_tokenizer.h"
#include "text/tokenizer.h"

namespace cohort::text {

// Immutable; safe from many threads.
class Model {
 public:
  virtual ~Model() = default;
  virtual void encode(const Words& words, std::vector<TokenId>& ids) const = 0;
};

}  // namespace cohort::text
