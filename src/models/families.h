// The architectures we know, one function and one file each. registry.cc lists them.
#pragma once

#include <memory>

#include "base/result.h"
#include "models/loader.h"
#include "models/model.h"

namespace cohort::models {

Result<std::unique_ptr<Model>> make_llama(Loader& loader);  // mistral too
Result<std::unique_ptr<Model>> make_ministral3(Loader& loader);
Result<std::unique_ptr<Model>> make_qwen2(Loader& loader);
Result<std::unique_ptr<Model>> make_qwen3(Loader& loader);
Result<std::unique_ptr<Model>> make_qwen3_moe(Loader& loader);
Result<std::unique_ptr<Model>> make_deepseek_v3(Loader& loader);  // kimi_k2 too
Result<std::unique_ptr<Model>> make_gpt_oss(Loader& loader);

}  // namespace cohort::models
