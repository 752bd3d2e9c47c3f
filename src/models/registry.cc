#include <algorithm>
#include <string>

#include "models/families.h"
#include "models/loader.h"
#include "models/model.h"

namespace cohort::models {
namespace {

struct Architecture {
  std::string_view model_type;
  Result<std::unique_ptr<Model>> (*make)(Loader& loader);
};

constexpr Architecture kArchitectures[] = {
    {"llama", make_llama},
    {"mistral", make_llama},
    {"ministral3", make_ministral3},
    {"qwen2", make_qwen2},
    {"qwen3", make_qwen3},
    {"qwen3_moe", make_qwen3_moe},
    {"deepseek_v3", make_deepseek_v3},
    {"kimi_k2", make_deepseek_v3},
    {"gpt_oss", make_gpt_oss},
};

std::string known() {
  std::string names;
  for (const Architecture& architecture : kArchitectures) {
    if (!names.empty()) names += ", ";
    names += architecture.model_type;
  }
  return names;
}

}  // namespace

std::vector<std::string_view> known_architectures() {
  std::vector<std::string_view> names;
  for (const Architecture& architecture : kArchitectures) names.push_back(architecture.model_type);
  return names;
}

Result<std::unique_ptr<Model>> make_model(const formats::Checkpoint& checkpoint, const Shard& shard,
                                          backend::Backend& backend, const LoadObserver& observer) {
  const Json& config = checkpoint.config();
  const auto type = config.find("model_type");
  if (type == config.end() || !type->is_string()) {
    return fail(Code::kUnsupported, "config.json names no model_type; known are {}", known());
  }
  const auto name = type->get<std::string>();
  const auto* architecture = std::ranges::find(kArchitectures, name, &Architecture::model_type);
  if (architecture == std::end(kArchitectures)) {
    return fail(Code::kUnsupported, "the architecture '{}' is unknown; known are {}", name,
                known());
  }
  Loader loader(checkpoint, shard, backend, observer);
  return architecture->make(loader);
}

}  // namespace cohort::models
