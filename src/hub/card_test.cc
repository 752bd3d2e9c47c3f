#include "hub/card.h"

#include <gtest/gtest.h>

#include <set>

#include "assets/assets.h"

namespace cohort::hub {
namespace {

TEST(Cards, EveryEmbeddedFileIsWellFormedAndNamesAreUnique) {
  std::set<std::string> names;
  for (const std::string_view file : assets::names_below("cards/")) {
    const auto cards = parse_cards(*assets::find(file), file);
    ASSERT_TRUE(cards) << cards.error().message;
    EXPECT_FALSE(cards->empty()) << file;
    for (const Card& card : *cards) {
      EXPECT_TRUE(names.insert(card.name).second) << card.name;
      EXPECT_NE(card.repository.find('/'), std::string::npos) << card.name;
      EXPECT_GT(card.size_bytes, 0u) << card.name;
      EXPECT_GT(card.layers, 0) << card.name;
    }
  }
  EXPECT_GT(names.size(), 80u);
}

TEST(Cards, AShortNameFindsItsRepository) {
  const Card* card = find_card("qwen3-0.6b");
  ASSERT_NE(card, nullptr);
  EXPECT_EQ(card->repository, "mlx-community/Qwen3-0.6B-4bit");
  EXPECT_EQ(card->quantization, "4bit");
  EXPECT_TRUE(card->supported);
  EXPECT_EQ(find_card("nothing-of-this-name"), nullptr);
}

TEST(Cards, ABrokenFileNamesTheLine) {
  const auto cards = parse_cards("family = \"x\"\n[[model]]\nlayers = 3\n", "x.toml");
  ASSERT_FALSE(cards);
  EXPECT_NE(cards.error().message.find("x.toml:2"), std::string::npos) << cards.error().message;
  EXPECT_FALSE(parse_cards("= 3", "y.toml"));
}

TEST(Cards, AnAutomaticCardReadsConfigJson) {
  const auto config =
      parse_json(R"({"model_type":"llama","num_hidden_layers":16,"max_position_embeddings":4096,
    "quantization":{"bits":4,"group_size":64}})");
  const Card card = card_of_config(*config);
  EXPECT_EQ(card.family, "llama");
  EXPECT_EQ(card.layers, 16);
  EXPECT_EQ(card.context, 4096);
  EXPECT_EQ(card.quantization, "4bit");
}

}  // namespace
}  // namespace cohort::hub
