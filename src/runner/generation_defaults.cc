#include "runner/generation_defaults.h"

#include <optional>
#include <set>
#include <string>

#include "base/log.h"

namespace cohort::runner {
namespace {

struct GenerationConfig {
  std::optional<bool> do_sample;
  std::optional<float> temperature, top_p, min_p, typical_p, repetition_penalty;
  std::optional<int32_t> top_k;

  void fields(auto& visit) {
    visit("do_sample", do_sample);
    visit("temperature", temperature);
    visit("top_p", top_p);
    visit("min_p", min_p);
    visit("typical_p", typical_p);
    visit("repetition_penalty", repetition_penalty);
    visit("top_k", top_k);
  }
};

// An empty object when there is nothing sensible.
Json parse_object(std::string_view name, std::string_view text) {
  if (text.empty()) return Json::object();
  auto parsed = parse_json(text);
  if (parsed && parsed->is_object()) return std::move(*parsed);
  log::warn("{} is ignored: {}", name, parsed ? "it is no object" : parsed.error().message);
  return Json::object();
}

bool share(float value) { return value > 0 && value <= 1; }

Sampling sampling_of(const Json& generation_config) {
  Sampling sampling;
  const auto config = from_json<GenerationConfig>(generation_config);
  if (!config) {
    log::warn("generation_config.json is ignored: {}", config.error().message);
    return sampling;
  }
  const auto adopt = [](auto& to, const auto& from, bool sensible) {
    if (from && sensible) to = *from;
  };
  const float temperature = config->temperature.value_or(1);
  adopt(sampling.temperature, config->temperature, temperature >= 0 && temperature <= 100);
  adopt(sampling.top_p, config->top_p, share(config->top_p.value_or(1)));
  adopt(sampling.min_p, config->min_p, share(config->min_p.value_or(1)));
  adopt(sampling.typical_p, config->typical_p, share(config->typical_p.value_or(1)));
  adopt(sampling.top_k, config->top_k, config->top_k.value_or(0) > 0);
  adopt(sampling.repetition_penalty, config->repetition_penalty,
        config->repetition_penalty.value_or(0) > 0);
  if (config->do_sample == false) sampling.temperature = 0;
  return sampling;
}

// eos_token_id: a number or a list of them.
void add_ids(const Json& config, std::set<text::TokenId>& ids) {
  const auto found = config.find("eos_token_id");
  if (found == config.end()) return;
  const Json list = found->is_array() ? *found : Json::array({*found});
  for (const Json& id : list) {
    if (const auto value = from_json<text::TokenId>(id); value && id.is_number())
      ids.insert(*value);
  }
}

// eos_token: a string, or an added token's object.
void add_named(const Json& tokenizer_config, const text::Tokenizer& tokenizer,
               std::set<text::TokenId>& ids) {
  const auto found = tokenizer_config.find("eos_token");
  if (found == tokenizer_config.end()) return;
  const Json name = found->is_object() ? found->value("content", Json()) : *found;
  if (!name.is_string()) return;
  if (const auto id = tokenizer.token_to_id(name.get<std::string>())) ids.insert(*id);
}

}  // namespace

GenerationDefaults read_generation_defaults(const ModelFiles& files, const Json& config,
                                            const text::Tokenizer& tokenizer) {
  const Json generation = parse_object("generation_config.json", files.generation_config);
  std::set<text::TokenId> ids;
  add_ids(generation, ids);
  add_ids(config, ids);
  if (const auto text_config = config.find("text_config");
      text_config != config.end() && text_config->is_object()) {
    add_ids(*text_config, ids);
  }
  add_named(parse_object("tokenizer_config.json", files.tokenizer_config), tokenizer, ids);
  return {.sampling = sampling_of(generation), .eos_tokens = {ids.begin(), ids.end()}};
}

}  // namespace cohort::runner
