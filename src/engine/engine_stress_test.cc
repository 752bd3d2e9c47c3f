// Random traffic on a small engine: whatever the batches, evictions, preemptions and cancels, each request gives what it
// gives alone, and nothing is left behind.

#include <gtest/gtest.h>

#include <tuple>

#include "engine/testing/harness.h"

namespace cohort::engine {
namespace {

using namespace testing;

class Dice {
 public:
  explicit Dice(uint64_t seed) : seed_(seed) {}
  uint64_t below(uint64_t bound) { return random_bits(seed_, throws_++) % bound; }
  int32_t between(int32_t low, int32_t high) {
    return low + static_cast<int32_t>(below(static_cast<uint64_t>(high - low + 1)));
  }
  bool one_in(uint64_t n) { return below(n) == 0; }

 private:
  uint64_t seed_, throws_ = 0;
};

EngineOptions random_options(Dice& dice) {
  EngineOptions options = fake_options();
  options.max_sequences = dice.between(1, 9);
  options.chunk_tokens = dice.between(1, 50);
  options.kv_pages = dice.between(5, 14);
  options.max_queued = 1000;
  return options;
}

// Prompts are cut from few texts, so that prefixes are shared.
Request random_request(Dice& dice, RequestId id) {
  Request request;
  request.id = id;
  request.prompt = random_tokens(dice.below(3), static_cast<size_t>(dice.between(1, 110)));
  if (dice.one_in(3)) request.prompt[dice.below(request.prompt.size())] = dice.between(1, 60);
  request.max_tokens = dice.one_in(8) ? 0 : dice.between(1, 60);
  request.sampling.seed = dice.below(1000);
  request.sampling.temperature = dice.one_in(3) ? 0.0f : 1.0f;
  request.sampling.ignore_eos = dice.one_in(2);
  if (dice.one_in(3)) request.sampling.top_p = 0.8f;
  if (dice.one_in(4)) request.sampling.repetition_penalty = 1.2f;
  if (dice.one_in(4)) request.sampling.min_tokens = 10;
  if (dice.one_in(4)) request.choices = dice.between(2, 5);
  if (dice.one_in(3)) request.stop = {"ab", "xyx"};
  return request;
}

struct Expectation {
  Request request;
  std::map<int32_t, Answer> answers;
  bool cancelled = false;
};

void check(Harness& harness, Expectation& expectation) {
  for (auto& [choice, want] : expectation.answers) {
    const Answer& got = harness.answer(expectation.request.id, choice);
    if (got.last.finish == FinishReason::kCancelled) {
      EXPECT_TRUE(expectation.cancelled);
      ASSERT_LE(got.tokens.size(), want.tokens.size());
      EXPECT_TRUE(std::equal(got.tokens.begin(), got.tokens.end(), want.tokens.begin()));
      continue;
    }
    ASSERT_EQ(got.tokens, want.tokens)
        << "request " << expectation.request.id << " choice " << choice;
    EXPECT_EQ(got.text, want.text);
    EXPECT_EQ(got.last.finish, want.last.finish);
  }
}

// By seed; and by the steps under way at a time.
class EngineStress : public ::testing::TestWithParam<std::tuple<uint64_t, int32_t>> {};

TEST_P(EngineStress, EveryRequestGivesWhatItGivesAlone) {
  const auto [seed, depth] = GetParam();
  Dice dice(seed);
  const EngineOptions options = random_options(dice);
  Harness harness(options, depth);
  std::vector<Expectation> expectations;
  for (RequestId id = 0; id < 40; ++id) {
    Expectation expectation{.request = random_request(dice, id), .answers = {}};
    expectation.answers = alone(expectation.request, harness.engine.context_length());
    harness.submit(expectation.request);
    expectations.push_back(std::move(expectation));
    for (int32_t steps = dice.between(0, 12); steps > 0; --steps) harness.step();
    if (dice.one_in(6)) {
      Expectation& victim = expectations[dice.below(expectations.size())];
      harness.engine.cancel(victim.request.id);
      victim.cancelled = true;
    }
  }
  harness.drain();
  for (Expectation& expectation : expectations) check(harness, expectation);
  const EngineStats stats = harness.engine.stats();
  EXPECT_EQ(stats.kv_pages_used, 0);
  EXPECT_EQ(stats.running + stats.queued, 0);
  EXPECT_LE(stats.kv_pages_cached, stats.kv_pages_total);
}

INSTANTIATE_TEST_SUITE_P(Seeds, EngineStress,
                         ::testing::Combine(::testing::Range<uint64_t>(0, 30),
                                            ::testing::Values(1, 2, 5)));

}  // namespace
}  // namespace cohort::engine
