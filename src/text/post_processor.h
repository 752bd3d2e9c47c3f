// tokenizer.json's "post_processor": the ids put around a text.
#pragma once

#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "text/tokenizer.h"

namespace cohort::text {

struct PostProcessor {
  std::vector<TokenId> before;
  std::vector<TokenId> after;

  // null: nothing. kUnsupported names a type we do not know.
  static Result<PostProcessor> parse(const nlohmann::ordered_json& config);
};

}  // namespace cohort::text
