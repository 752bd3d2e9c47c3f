#include "backend/testing/reference.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace cohort::backend::testing {
namespace {

using Doubles = std::vector<double>;

Doubles scores_of(const RouterSpec& spec, const Values& logits) {
  Doubles scores(logits.begin(), logits.end());
  if (spec.scoring == Scoring::kSoftmaxOfChosen) return scores;
  if (spec.scoring == Scoring::kGroupedSigmoid) {
    std::ranges::transform(scores, scores.begin(), sigmoid);
    return scores;
  }
  double sum = 0;
  for (double& score : scores) sum += score = std::exp(score);
  for (double& score : scores) score /= sum;
  return scores;
}

// Groups are ranked by the sum of their two best; those that lose can still be chosen with a score of 0.
void drop_losing_groups(const RouterSpec& spec, Doubles& choice) {
  const auto size = static_cast<ptrdiff_t>(choice.size()) / spec.groups;
  Doubles ranks;
  for (int g = 0; g < spec.groups; ++g) {
    Doubles group(choice.begin() + g * size, choice.begin() + (g + 1) * size);
    std::ranges::sort(group, std::greater<>());
    ranks.push_back(size > 1 ? group[0] + group[1] : group[0]);
  }
  for (int g = 0; g < spec.groups; ++g) {
    const auto better = std::ranges::count_if(ranks, [&](double rank) { return rank > ranks[g]; });
    if (better >= spec.top_groups) std::fill_n(choice.begin() + g * size, size, 0.0);
  }
}

}  // namespace

double dot(const float* a, const float* b, int64_t size) {
  double sum = 0;
  for (int64_t i = 0; i < size; ++i) sum += double{a[i]} * b[i];
  return sum;
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

double gate(Activation activation, double g, double u) {
  switch (activation) {
    case Activation::kSilu: return g * sigmoid(g) * u;
    case Activation::kGeluTanh:
      return 0.5 * g * (1 + std::tanh(std::sqrt(2 / M_PI) * (g + 0.044715 * g * g * g))) * u;
    case Activation::kRelu2: return g > 0 ? g * g * u : 0;
    case Activation::kGptOss: {
      g = std::min(g, 7.0);
      return g * sigmoid(1.702 * g) * (std::clamp(u, -7.0, 7.0) + 1);
    }
  }
  return 0;
}

Values expert_weights(const RouterSpec& spec, const Values& logits, const Values& choice_bias) {
  const Doubles scores = scores_of(spec, logits);
  Doubles choice = scores;
  for (size_t e = 0; e < choice_bias.size(); ++e) choice[e] += choice_bias[e];
  if (spec.groups > 1) drop_losing_groups(spec, choice);
  std::vector<size_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](size_t a, size_t b) { return choice[a] > choice[b]; });
  order.resize(static_cast<size_t>(spec.top_k));

  const bool exponential = spec.scoring == Scoring::kSoftmaxOfChosen;
  const bool divide = exponential || (spec.normalize && spec.top_k > 1);
  Doubles chosen;
  for (const size_t e : order) chosen.push_back(exponential ? std::exp(scores[e]) : scores[e]);
  const double total = divide ? std::accumulate(chosen.begin(), chosen.end(), 0.0) : 1.0;
  Values weights(logits.size(), 0.0f);
  for (size_t i = 0; i < order.size(); ++i)
    weights[order[i]] = static_cast<float>(chosen[i] / total * spec.scale);
  return weights;
}

}  // namespace cohort::backend::testing
