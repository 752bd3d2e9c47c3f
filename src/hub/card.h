// Model cards: what is known of a model before it is downloaded. Embedded ones (resources/cards/*.toml) give short names
// to repositories; for any other repository or folder a card is made from its config.json.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace cohort::hub {

struct Card {
  std::string name;          // short name, "qwen3-0.6b"; empty for automatic cards
  std::string repository;    // "mlx-community/Qwen3-0.6B-4bit"
  std::string family;        // config's model_type
  std::string quantization;  // "4bit", "bf16"...
  uint64_t size_bytes = 0;   // of the weights; 0: unknown
  int32_t layers = 0;
  int32_t context = 0;
  bool supported = false;  // whether this version runs the family

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("name", name);
    visit("repository", repository);
    visit("family", family);
    visit("quantization", quantization);
    visit("size_bytes", size_bytes);
    visit("layers", layers);
    visit("context", context);
    visit("supported", supported);
  }
};

// A card file: a family and its models. kInvalidArgument names file, line and what is wrong.
Result<std::vector<Card>> parse_cards(std::string_view toml, std::string_view file_name);

// Every embedded card, by name.
const std::vector<Card>& embedded_cards();
const Card* find_card(std::string_view short_name);

// A card from a config.json: family, layers, context, quantisation.
Card card_of_config(const Json& config);

}  // namespace cohort::hub
