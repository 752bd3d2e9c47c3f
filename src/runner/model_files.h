// A model's text files beside its weights, from a folder or from inside the binary.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "formats/checkpoint.h"

namespace cohort::runner {

inline constexpr std::string_view kDemoModel = "demo";

// Contents; empty when there is no such file.
struct ModelFiles {
  std::string tokenizer;          // tokenizer.json
  std::string tokenizer_config;   // tokenizer_config.json
  std::string chat_template;      // chat_template.jinja
  std::string generation_config;  // generation_config.json
};

// `model`: a folder, a single .safetensors file (its folder is meant), or kDemoModel. kTooLarge names a file that is no
// sane model's; kUnavailable one that cannot be read.
Result<ModelFiles> read_model_files(const std::string& model);
Result<formats::Checkpoint> open_checkpoint(const std::string& model);
Result<int32_t> layers_of(const formats::Checkpoint& checkpoint);  // as its config says

}  // namespace cohort::runner
