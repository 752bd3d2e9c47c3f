#include "backend/cpu/routing.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"

namespace cohort::backend {
namespace {

constexpr float kTaken = -std::numeric_limits<float>::infinity();

void softmax(std::span<float> values) {
  const float most = *std::max_element(values.begin(), values.end());
  float sum = 0;
  for (float& value : values) sum += value = std::exp(value - most);
  for (float& value : values) value /= sum;
}

// Indices of the best scores, best first; destroys them.
void take_best(std::span<float> scores, std::span<int32_t> best) {
  for (int32_t& index : best) {
    index = static_cast<int32_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
    scores[index] = kTaken;
  }
}

float sum_of_two_best(std::span<const float> scores) {
  float first = kTaken, second = kTaken;
  for (float score : scores) {
    second = std::max(second, std::min(first, score));
    first = std::max(first, score);
  }
  return scores.size() > 1 ? first + second : first;
}

// Sets the scores of all but the best `top_groups` groups to 0 (not to -infinity: the reference lets them be chosen
// before a negative one).
void drop_losing_groups(const RouterSpec& spec, std::span<float> scores) {
  const size_t size = scores.size() / spec.groups;
  const auto rank = [&](int g) { return sum_of_two_best(scores.subspan(g * size, size)); };
  constexpr int kMaxGroups = 64;
  COHORT_CHECK(spec.groups <= kMaxGroups);
  float ranks[kMaxGroups];
  int32_t order[kMaxGroups];
  for (int g = 0; g < spec.groups; ++g) ranks[g] = rank(g);
  take_best({ranks, static_cast<size_t>(spec.groups)}, {order, static_cast<size_t>(spec.groups)});
  for (int loser = spec.top_groups; loser < spec.groups; ++loser) {
    std::ranges::fill(scores.subspan(order[loser] * size, size), 0.0f);
  }
}

}  // namespace

void choose_experts(const RouterSpec& spec, std::span<float> logits,
                    std::span<const float> choice_bias, std::span<float> scratch,
                    std::span<int32_t> experts, std::span<float> weights) {
  COHORT_CHECK(!experts.empty() && experts.size() <= logits.size() &&
               weights.size() == experts.size());
  COHORT_CHECK(choice_bias.empty() || choice_bias.size() == logits.size());
  if (spec.scoring == Scoring::kSoftmax) softmax(logits);
  if (spec.scoring == Scoring::kGroupedSigmoid) {
    for (float& logit : logits) logit = 1.0f / (1.0f + std::exp(-logit));
  }
  const std::span<float> scores = scratch.first(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    scores[i] = logits[i] + (choice_bias.empty() ? 0.0f : choice_bias[i]);
  }
  if (spec.scoring == Scoring::kGroupedSigmoid && spec.groups > 1) drop_losing_groups(spec, scores);
  take_best(scores, experts);
  for (size_t i = 0; i < experts.size(); ++i) weights[i] = logits[experts[i]];

  if (spec.scoring == Scoring::kSoftmaxOfChosen) {
    softmax(weights);
  } else if (spec.normalize && spec.top_k > 1) {
    float sum = 1e-20f;
    for (float weight : weights) sum += weight;
    for (float& weight : weights) weight /= sum;
  }
  for (float& weight : weights) weight *= spec.scale;
}

}  // namespace cohort::backend
