#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <set>

#include "engine/random.h"

namespace cohort::engine {
namespace {

using Logits = std::vector<float>;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

Logits random_logits(uint64_t seed, size_t count, double spread = 6) {
  Logits logits(count);
  for (size_t i = 0; i < count; ++i)
    logits[i] = static_cast<float>(spread * (random_unit(seed, i) - 0.5));
  return logits;
}

struct Draw {
  Sampling sampling;
  SeenTokens seen;
  std::vector<text::TokenId> banned;

  std::optional<text::TokenId> operator()(Logits logits, uint64_t seed = 1, uint64_t position = 0) {
    const Logits before = logits;
    const auto token = sampler.sample(logits, {sampling, seen, banned, seed, position});
    const bool restored =
        std::equal(before.begin(), before.end(), logits.begin(),
                   [](float a, float b) { return a == b || (std::isnan(a) && std::isnan(b)); });
    EXPECT_TRUE(restored);
    return token;
  }

  // Shares of the tokens over many draws.
  std::map<text::TokenId, double> shares(const Logits& logits, int draws = 20'000) {
    std::map<text::TokenId, double> shares;
    Logits row = logits;
    for (int i = 0; i < draws; ++i) {
      const auto token = sampler.sample(row, {sampling, seen, banned, 7, static_cast<uint64_t>(i)});
      shares[token.value()] += 1.0 / draws;
    }
    return shares;
  }

  Sampler sampler;
};

Draw drawing(Sampling sampling) {
  return {.sampling = sampling, .seen = {}, .banned = {}, .sampler = {}};
}

std::vector<double> softmax(const Logits& logits, double temperature = 1) {
  const double max = *std::max_element(logits.begin(), logits.end());
  std::vector<double> p;
  for (const float logit : logits) p.push_back(std::exp((logit - max) / temperature));
  const double sum = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& value : p) value /= sum;
  return p;
}

std::vector<text::TokenId> by_probability(const std::vector<double>& p) {
  std::vector<text::TokenId> order(p.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return p[a] > p[b]; });
  return order;
}

std::set<text::TokenId> keys(const std::map<text::TokenId, double>& shares) {
  std::set<text::TokenId> result;
  for (const auto& [id, share] : shares) result.insert(id);
  return result;
}

TEST(Sampler, GreedyTakesTheLargestAndOfEqualsTheFirst) {
  Draw draw = drawing({.temperature = 0});
  EXPECT_EQ(draw({1, 5, 3}), 1);
  EXPECT_EQ(draw({1, 5, 3, 5}), 1);
  for (size_t size : {1, 63, 64, 65, 1000}) {
    Logits logits = random_logits(size, size);
    const auto best = std::max_element(logits.begin(), logits.end()) - logits.begin();
    EXPECT_EQ(draw(logits), best) << size;
  }
}

TEST(Sampler, TemperatureAloneDrawsFromTheSoftmax) {
  for (const float temperature : {0.5f, 1.0f, 2.0f}) {
    const Logits logits = random_logits(3, 100, 4);
    const auto p = softmax(logits, temperature);
    const auto shares = drawing({.temperature = temperature}).shares(logits);
    for (const auto& [id, share] : shares) {
      EXPECT_NEAR(share, p[id], 5 * std::sqrt(p[id] / 20'000) + 1e-4)
          << id << " at " << temperature;
    }
  }
}

TEST(Sampler, TheSameSeedAndPositionGiveTheSameTokenAndOthersDiffer) {
  const Logits logits = random_logits(5, 5000, 2);
  Draw draw = drawing({});
  std::set<text::TokenId> by_seed, by_position;
  for (uint64_t i = 0; i < 50; ++i) {
    EXPECT_EQ(draw(logits, i, 9), draw(logits, i, 9));
    by_seed.insert(*draw(logits, i, 9));
    by_position.insert(*draw(logits, 9, i));
  }
  EXPECT_GT(by_seed.size(), 40u);
  EXPECT_GT(by_position.size(), 40u);
}

TEST(Sampler, TopKKeepsTheBestK) {
  const Logits logits = random_logits(11, 300, 3);
  const auto order = by_probability(softmax(logits));
  for (const int32_t k : {1, 2, 7}) {
    EXPECT_EQ(keys(drawing({.top_k = k}).shares(logits)),
              std::set<text::TokenId>(order.begin(), order.begin() + k));
  }
  EXPECT_EQ(keys(drawing({.top_k = 1000}).shares({1, 2, 3})).size(), 3u);
}

TEST(Sampler, TopPKeepsTheSmallestSetThatHoldsTheMass) {
  for (const float top_p : {0.1f, 0.5f, 0.9f}) {
    const Logits logits = random_logits(13, 60, 8);
    const auto p = softmax(logits);
    std::set<text::TokenId> nucleus;
    double mass = 0;
    for (const text::TokenId id : by_probability(p)) {
      if (mass >= top_p) break;
      mass += p[id];
      nucleus.insert(id);
    }
    Draw draw = drawing({.top_p = top_p});
    const auto shares = draw.shares(logits);
    EXPECT_EQ(keys(shares), nucleus) << top_p;
    for (const auto& [id, share] : shares) EXPECT_NEAR(share, p[id] / mass, 0.02);
  }
}

TEST(Sampler, TopPCountsTheMassThatTopKLeft) {
  // Of {0.4, 0.3, 0.2, 0.1}, top_k 2 leaves {0.57, 0.43}: 0.5 of that is the first alone.
  const Logits logits = {std::log(0.4f), std::log(0.3f), std::log(0.2f), std::log(0.1f)};
  EXPECT_EQ(keys(drawing({.top_p = 0.5f, .top_k = 2}).shares(logits)), std::set<text::TokenId>{0});
  EXPECT_EQ(keys(drawing({.top_p = 0.5f}).shares(logits)), (std::set<text::TokenId>{0, 1}));
}

TEST(Sampler, MinPDropsWhatIsFarBelowTheBest) {
  const Logits logits = {std::log(0.5f), std::log(0.26f), std::log(0.2f), std::log(0.04f)};
  EXPECT_EQ(keys(drawing({.min_p = 0.5f}).shares(logits)), (std::set<text::TokenId>{0, 1}));
  EXPECT_EQ(keys(drawing({.min_p = 0.3f}).shares(logits)), (std::set<text::TokenId>{0, 1, 2}));
  EXPECT_EQ(keys(drawing({.top_p = 0.6f, .min_p = 0.3f}).shares(logits)),
            (std::set<text::TokenId>{0, 1}));
}

TEST(Sampler, TypicalPKeepsTheTokensNearestToTheEntropy) {
  const Logits logits = random_logits(17, 40, 6);
  const auto p = softmax(logits);
  double entropy = 0;
  for (const double value : p) entropy -= value * std::log(value);
  std::vector<text::TokenId> order(p.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](auto a, auto b) {
    return std::abs(-std::log(p[a]) - entropy) < std::abs(-std::log(p[b]) - entropy);
  });
  std::set<text::TokenId> typical;
  double mass = 0;
  for (const text::TokenId id : order) {
    if (mass >= 0.6) break;
    mass += p[id];
    typical.insert(id);
  }
  EXPECT_EQ(keys(drawing({.typical_p = 0.6f}).shares(logits)), typical);
}

TEST(Sampler, RepetitionPenaltyWeakensWhatPromptAndOutputHold) {
  Draw draw = drawing({.temperature = 0, .repetition_penalty = 2});
  EXPECT_EQ(draw({3, 2, -1}), 0);
  draw.seen.add_prompt(0);
  EXPECT_EQ(draw({3, 2, -1}), 1);
  draw.seen.add_output(1);
  EXPECT_EQ(draw({3, 2, -1}), 0);
  Draw negative = drawing({.temperature = 0, .repetition_penalty = 2});
  negative.seen.add_prompt(0);
  EXPECT_EQ(negative({-2, -3}), 1);
}

TEST(Sampler, PresenceAndFrequencyPenaltiesCountTheOutputAlone) {
  Draw presence = drawing({.temperature = 0, .presence_penalty = 1.5f});
  presence.seen.add_prompt(0);
  EXPECT_EQ(presence({3, 2}), 0);
  presence.seen.add_output(0);
  EXPECT_EQ(presence({3, 2}), 1);
  presence.seen.add_output(0);
  EXPECT_EQ(presence({3.6f, 2}), 0);

  Draw frequency = drawing({.temperature = 0, .frequency_penalty = 0.6f});
  frequency.seen.add_output(0);
  EXPECT_EQ(frequency({3, 2}), 0);
  frequency.seen.add_output(0);
  EXPECT_EQ(frequency({3, 2}), 1);
}

TEST(Sampler, LogitBiasIsAddedAndBannedTokensNeverCome) {
  Draw draw = drawing({.temperature = 0, .logit_bias = {{2, 100.0f}}});
  EXPECT_EQ(draw({3, 2, -50}), 2);
  draw.banned = {2};
  EXPECT_EQ(draw({3, 2, -50}), 0);
  Draw warm = drawing({});
  warm.banned = {0};
  EXPECT_EQ(keys(warm.shares({9, 1, 1}, 500)), (std::set<text::TokenId>{1, 2}));
}

TEST(Sampler, NotANumberIsNeverChosenAndNothingToChooseIsSaid) {
  const float nan = std::nanf("");
  for (const Sampling& sampling :
       {Sampling{.temperature = 0}, Sampling{}, Sampling{.top_p = 0.9f}, Sampling{.top_k = 3}}) {
    Draw draw = drawing(sampling);
    EXPECT_EQ(draw({nan, -kInfinity, 1, nan}), 2);
    EXPECT_EQ(draw({nan, nan}), std::nullopt);
    EXPECT_EQ(draw({-kInfinity, -kInfinity}), std::nullopt);
    EXPECT_EQ(draw({1, kInfinity}), std::nullopt);
  }
}

TEST(Sampler, LogprobsAreThoseOfTheModelWhateverTheSampling) {
  const Logits logits = random_logits(23, 1000, 5);
  const auto p = softmax(logits);
  const auto order = by_probability(p);
  Sampler sampler;
  const SampledLogprobs result = sampler.logprobs(logits, 77, 5);
  EXPECT_EQ(result.chosen.id, 77);
  EXPECT_NEAR(result.chosen.logprob, std::log(p[77]), 1e-5);
  ASSERT_EQ(result.top.size(), 5u);
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(result.top[i].id, order[i]);
    EXPECT_NEAR(result.top[i].logprob, std::log(p[order[i]]), 1e-5);
  }
  EXPECT_TRUE(sampler.logprobs(logits, 77, 0).top.empty());
}

TEST(Sampler, ParametersOutOfRangeAreNamed) {
  const auto message = [](const Sampling& sampling) {
    const auto result = validate(sampling, 100);
    return result ? "" : result.error().message;
  };
  EXPECT_EQ(message({}), "");
  EXPECT_NE(message({.temperature = -1}).find("temperature is -1"), std::string::npos);
  EXPECT_NE(message({.temperature = std::nanf("")}).find("temperature"), std::string::npos);
  EXPECT_NE(message({.top_p = 0}).find("top_p"), std::string::npos);
  EXPECT_NE(message({.top_k = -2}).find("top_k"), std::string::npos);
  EXPECT_NE(message({.min_p = 1.5f}).find("min_p"), std::string::npos);
  EXPECT_NE(message({.repetition_penalty = 0}).find("repetition_penalty"), std::string::npos);
  EXPECT_NE(message({.logit_bias = {{100, 1.0f}}}).find("token 100"), std::string::npos);
  EXPECT_NE(message({.logprobs = 21}).find("logprobs"), std::string::npos);
}

}  // namespace
}  // namespace cohort::engine
