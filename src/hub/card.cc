#include "hub/card.h"

#include <algorithm>

#include <toml++/toml.h>

#include "assets/assets.h"
#include "base/check.h"

namespace cohort::hub {
namespace {

Card card_of(const toml::table& model, const toml::table& file) {
  Card card;
  card.family = file["family"].value_or(std::string());
  card.supported = file["supported"].value_or(true);
  card.layers = model["layers"].value_or(0);
  card.context = model["context"].value_or(file["context"].value_or(0));
  return card;
}

// "4bit" of "Qwen3-0.6B-4bit"; repositories of the hub's MLX community end so.
std::string quantization_of(const std::string& repository) {
  const size_t dash = repository.rfind('-');
  return dash == std::string::npos ? "" : repository.substr(dash + 1);
}

Result<void> add_variants(const toml::table& model, const Card& base, std::string_view file_name,
                          std::vector<Card>& cards) {
  const toml::array* variants = model["variants"].as_array();
  if (variants == nullptr) {
    return fail(Code::kInvalidArgument, "{}:{}: a model needs an array 'variants'", file_name,
                model.source().begin.line);
  }
  for (const toml::node& node : *variants) {
    const toml::table* variant = node.as_table();
    const auto name = variant == nullptr ? std::nullopt : (*variant)["name"].value<std::string>();
    const auto repository =
        variant == nullptr ? std::nullopt : (*variant)["repository"].value<std::string>();
    if (!name || !repository) {
      return fail(Code::kInvalidArgument, "{}:{}: a variant needs 'name' and 'repository'",
                  file_name, node.source().begin.line);
    }
    Card card = base;
    card.name = *name;
    card.repository = *repository;
    card.quantization = quantization_of(*repository);
    card.size_bytes = static_cast<uint64_t>((*variant)["size_mb"].value_or(int64_t{0})) * 1'000'000;
    cards.push_back(std::move(card));
  }
  return {};
}

// The library throws; here it is caught.
Result<toml::table> parse_toml(std::string_view text, std::string_view file_name) {
  try {
    return toml::parse(text, file_name);
  } catch (const toml::parse_error& error) {
    return fail(Code::kInvalidArgument, "{}:{}: {}", file_name, error.source().begin.line,
                error.description());
  }
}

std::vector<Card> load_embedded() {
  std::vector<Card> cards;
  for (const std::string_view name : assets::names_below("cards/")) {
    Result<std::vector<Card>> parsed = parse_cards(*assets::find(name), name);
    COHORT_CHECK(parsed.has_value());  // a test reads every embedded file
    cards.insert(cards.end(), parsed->begin(), parsed->end());
  }
  std::sort(cards.begin(), cards.end(),
            [](const Card& a, const Card& b) { return a.name < b.name; });
  return cards;
}

}  // namespace

Result<std::vector<Card>> parse_cards(std::string_view text, std::string_view file_name) {
  COHORT_TRY(const toml::table file, parse_toml(text, file_name));
  std::vector<Card> cards;
  const toml::array* models = file["model"].as_array();
  if (models == nullptr) return cards;
  for (const toml::node& node : *models) {
    const toml::table* model = node.as_table();
    if (model == nullptr)
      return fail(Code::kInvalidArgument, "{}: [[model]] must be a table", file_name);
    COHORT_TRY_VOID(add_variants(*model, card_of(*model, file), file_name, cards));
  }
  return cards;
}

const std::vector<Card>& embedded_cards() {
  static const std::vector<Card> cards = load_embedded();  // immutable once made
  return cards;
}

const Card* find_card(std::string_view short_name) {
  const auto& cards = embedded_cards();
  const auto found = std::find_if(cards.begin(), cards.end(),
                                  [&](const Card& card) { return card.name == short_name; });
  return found == cards.end() ? nullptr : &*found;
}

Card card_of_config(const Json& config) {
  const auto text = [](const Json& object, const char* key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  const auto number = [](const Json& object, const char* key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_number_integer() ? found->get<int32_t>() : 0;
  };
  if (!config.is_object()) return {};
  const auto nested = config.find("text_config");
  const Json& model = nested != config.end() && nested->is_object() ? *nested : config;
  Card card{.family = text(config, "model_type"),
            .layers = number(model, "num_hidden_layers"),
            .context = number(model, "max_position_embeddings")};
  const auto quantization = config.find("quantization");
  if (quantization != config.end() && quantization->is_object()) {
    const std::string mode = text(*quantization, "mode");
    card.quantization = mode.empty() || mode == "affine"
                            ? fmt::format("{}bit", number(*quantization, "bits"))
                            : mode;
  } else {
    card.quantization = text(config, "torch_dtype");
  }
  return card;
}

}  // namespace cohort::hub
