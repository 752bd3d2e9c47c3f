// What a model's own files say about generating: where an answer ends, and how to sample when the request does not say.
#pragma once

#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/sampling.h"
#include "runner/model_files.h"
#include "text/tokenizer.h"

namespace cohort::runner {

struct GenerationDefaults {
  Sampling sampling;
  std::vector<text::TokenId>
      eos_tokens;  // sorted; of generation_config, config and tokenizer_config together
};

// Values that make no sense are left out with a warning in the log: a model is not refused for its advice.
GenerationDefaults read_generation_defaults(const ModelFiles& files, const Json& config,
                                            const text::Tokenizer& tokenizer);

}  // namespace cohort::runner
