#include "backend/mlx/mixture.h"

#include <cmath>

#include "base/check.h"

namespace cohort::backend::mlx_parts {
namespace {

// From so many choices on, rows are sorted by expert first: each expert's weights are then read once for all of them.
constexpr int kSortedChoices = 64;

mx::array number(float value, const mx::array& like) { return mx::array(value, like.dtype()); }

// Indices [rows, count] of the greatest along the last axis, in no order.
mx::array best(const mx::array& scores, int count) {
  const int all = scores.shape(-1);
  const mx::array order = mx::argpartition(mx::negative(scores), count - 1, -1);
  return mx::slice(order, {0, 0}, {scores.shape(0), std::min(count, all)});
}

// Groups are ranked by the sum of their two best; those that lose can still be chosen, with a score of 0.
mx::array without_losing_groups(const mx::array& scores, const RouterSpec& spec) {
  const int rows = scores.shape(0), size = scores.shape(1) / spec.groups;
  const mx::array groups = mx::reshape(scores, {rows, spec.groups, size});
  const mx::array ranks = mx::sum(mx::topk(groups, std::min(size, 2), -1), -1);
  const mx::array winners = best(ranks, spec.top_groups);
  const mx::array won =
      mx::put_along_axis(mx::zeros({rows, spec.groups}, mx::bool_), winners, mx::array(true), 1);
  return mx::reshape(mx::where(mx::expand_dims(won, -1), groups, number(0, groups)),
                     scores.shape());
}

// The experts' outputs [rows, k, columns] for their choices [rows, k].
mx::array outputs(const Bank& bank, const mx::array& x, const mx::array& choices) {
  const int rows = choices.shape(0), k = choices.shape(1);
  const bool sort = rows * k >= kSortedChoices;
  const auto run = [&](const mx::array& in, const mx::array& entries) {
    const mx::array hidden = gate_halves(bank.activation, gather(bank.gate_up, in, entries, sort));
    return gather(bank.down, hidden, entries, sort);
  };
  if (!sort) {
    return mx::reshape(run(mx::reshape(x, {rows, 1, 1, -1}), choices), {rows, k, -1});
  }
  const mx::array flat = mx::flatten(choices);
  const mx::array order = mx::argsort(flat);
  const mx::array from = mx::floor_divide(order, mx::array(k, order.dtype()));
  const mx::array sorted = run(mx::expand_dims(mx::take(x, from, 0), 1), mx::take(flat, order));
  return mx::reshape(mx::take(sorted, mx::argsort(order), 0), {rows, k, -1});
}

}  // namespace

mx::array gate(Activation activation, const mx::array& g, const mx::array& u) {
  switch (activation) {
    case Activation::kSilu: return mx::multiply(mx::multiply(g, mx::sigmoid(g)), u);
    case Activation::kGeluTanh: {
      const mx::array cubed =
          mx::multiply(mx::multiply(g, g), mx::multiply(g, number(0.044715f, g)));
      const mx::array inner = mx::tanh(
          mx::multiply(number(static_cast<float>(std::sqrt(2 / M_PI)), g), mx::add(g, cubed)));
      return mx::multiply(
          mx::multiply(mx::multiply(number(0.5f, g), g), mx::add(number(1, g), inner)), u);
    }
    case Activation::kRelu2: {
      const mx::array positive = mx::maximum(g, number(0, g));
      return mx::multiply(mx::multiply(positive, positive), u);
    }
    case Activation::kGptOss: {
      const mx::array capped = mx::minimum(g, number(7, g));
      const mx::array glu =
          mx::multiply(capped, mx::sigmoid(mx::multiply(number(1.702f, g), capped)));
      return mx::multiply(glu, mx::add(mx::clip(u, number(-7, u), number(7, u)), number(1, u)));
    }
  }
  COHORT_CHECK(false);
}

mx::array gate_halves(Activation activation, const mx::array& both) {
  const std::vector<mx::array> halves = mx::split(both, 2, -1);
  return gate(activation, halves[0], halves[1]);
}

Routes choose_experts(const mx::array& logits, const RouterSpec& spec,
                      const std::optional<mx::array>& choice_bias) {
  mx::array scores = logits;
  if (spec.scoring == Scoring::kSoftmax) scores = mx::softmax(logits, -1, /*precise=*/true);
  if (spec.scoring == Scoring::kGroupedSigmoid) scores = mx::sigmoid(logits);
  mx::array choice = choice_bias ? mx::add(scores, *choice_bias) : scores;
  if (spec.scoring == Scoring::kGroupedSigmoid && spec.groups > 1)
    choice = without_losing_groups(choice, spec);
  const mx::array chosen = best(choice, spec.top_k);
  mx::array weights = mx::take_along_axis(scores, chosen, -1);
  if (spec.scoring == Scoring::kSoftmaxOfChosen) {
    weights = mx::softmax(weights, -1, /*precise=*/true);
  } else if (spec.normalize && spec.top_k > 1) {
    weights =
        mx::divide(weights, mx::add(mx::sum(weights, -1, /*keepdims=*/true), mx::array(1e-20f)));
  }
  return {chosen, mx::multiply(weights, mx::array(spec.scale))};
}

mx::array run_experts(const Bank& bank, const mx::array& x, const Routes& routes) {
  mx::array choices = routes.experts;
  mx::array weights = mx::expand_dims(mx::astype(routes.weights, x.dtype()), -1);
  if (bank.kept.count == bank.experts)
    return mx::sum(mx::multiply(outputs(bank, x, choices), weights), 1);
  const auto first = static_cast<int>(bank.kept.first), count = static_cast<int>(bank.kept.count);
  const mx::array local = mx::subtract(mx::astype(choices, mx::int32), mx::array(first));
  const mx::array here =
      mx::logical_and(mx::greater_equal(local, mx::array(0)), mx::less(local, mx::array(count)));
  // Others' choices are computed with some expert of ours and left out of the sum.
  choices = mx::astype(mx::where(here, local, mx::array(0)), mx::uint32);
  const mx::array y = mx::multiply(outputs(bank, x, choices), weights);
  return mx::sum(mx::where(mx::expand_dims(here, -1), y, number(0, y)), 1);
}

}  // namespace cohort::backend::mlx_parts
