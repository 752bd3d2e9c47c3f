// tokenizer.json's "normalizer": text is rewritten before it is split.
#pragma once

#include <functional>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "text/rewriter.h"

namespace cohort::text {

// Immutable; safe from many threads.
class Normalizer {
 public:
  // null: changes nothing. kUnsupported names a type we do not know.
  static Result<Normalizer> parse(const nlohmann::ordered_json& config);

  // Text must be valid UTF-8 and stays so; what is trusted in it is kept track of.
  MarkedText run(MarkedText text) const;

 private:
  using Step = std::function<MarkedText(MarkedText)>;
  Result<void> add(const nlohmann::ordered_json& config);
  static Result<Step> make_step(const nlohmann::ordered_json& config);

  std::vector<Step> steps_;
};

}  // namespace cohort::text
