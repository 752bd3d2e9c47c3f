#include "backend/cpu/experts.h"

#include <algorithm>
#include <span>

#include "base/check.h"

namespace cohort::backend {
namespace {

// Bounds the memory of a long prompt's choices: experts are taken in groups of about this many rows.
constexpr int64_t kRowsAtOnce = 1024;

struct Choice {
  int32_t row;
  float weight;
};

// All choices of kept experts, by expert and then by row: those of expert e are choices[first[e]] to [first[e + 1]].
struct ChoicesByExpert {
  std::span<Choice> choices;
  std::span<int32_t> first;
};

ChoicesByExpert sort_by_expert(const Bank& bank, const Routes& routes, Scratch& scratch) {
  const auto experts = static_cast<int32_t>(bank.down.size());
  const int64_t total = int64_t{routes.rows} * routes.top_k;
  std::span<int32_t> first(scratch.make<int32_t>(experts + 2), static_cast<size_t>(experts) + 2);
  std::ranges::fill(first, 0);
  const auto kept = [&](int64_t i) {
    const int32_t e = routes.experts[i] - bank.first;
    return e >= 0 && e < experts ? e : -1;
  };
  for (int64_t i = 0; i < total; ++i) {
    if (const int32_t e = kept(i); e >= 0) ++first[e + 2];
  }
  for (int32_t e = 2; e < experts + 2; ++e) first[e] += first[e - 1];
  Choice* choices = scratch.make<Choice>(first[experts + 1]);
  for (int64_t i = 0; i < total; ++i) {  // first[e + 1] runs from where e begins to where it ends
    if (const int32_t e = kept(i); e >= 0) {
      choices[first[e + 1]++] = {static_cast<int32_t>(i / routes.top_k), routes.weights[i]};
    }
  }
  return {{choices, static_cast<size_t>(first[experts])},
          first.first(static_cast<size_t>(experts) + 1)};
}

class Group {
 public:
  Group(const Compute& compute, const Bank& bank, const ChoicesByExpert& sorted, Rows x, Rows y)
      : compute_(compute), bank_(bank), sorted_(sorted), x_(x), y_(y) {}

  // Adds what the experts [begin, end) give.
  void run(int32_t begin, int32_t end) {
    const int32_t first = sorted_.first[begin], count = sorted_.first[end] - first;
    if (count == 0) return;
    Scratch scratch(compute_.arena);
    const Rows in = make(scratch, count, x_.columns);
    const Rows hidden = make(scratch, count, bank_.down[0].columns);
    const Rows out = make(scratch, count, y_.columns);
    const std::span<const Choice> choices = sorted_.choices.subspan(first, count);
    for_each_row(compute_, count, x_.columns,
                 [&](int32_t i) { std::copy_n(x_.row(choices[i].row), x_.columns, in.row(i)); });
    multiply_each(begin, end, bank_.gate_up, in, hidden, bank_.activation);
    multiply_each(begin, end, bank_.down, hidden, out, std::nullopt);
    add_up(choices, out);
  }

 private:
  static Rows make(Scratch& scratch, int32_t rows, int32_t columns) {
    constexpr int32_t kLineFloats = 16;
    const int64_t stride = (columns + kLineFloats - 1) / kLineFloats * kLineFloats;
    return {scratch.make<float>(rows * stride), stride, rows, columns};
  }

  void multiply_each(int32_t begin, int32_t end, const std::vector<Weights>& weights, Rows in,
                     Rows out, std::optional<Activation> gate) {
    Scratch scratch(compute_.arena);
    Product* products = scratch.make<Product>(end - begin);
    size_t count = 0;
    for (int32_t e = begin; e < end; ++e) {
      const int32_t first = sorted_.first[e] - sorted_.first[begin];
      const int32_t rows = sorted_.first[e + 1] - sorted_.first[e];
      if (rows == 0) continue;
      products[count++] = {.weights = &weights[e],
                           .x = {in.row(first), in.stride, rows, in.columns},
                           .y = {out.row(first), out.stride, rows, out.columns},
                           .gate = gate};
    }
    multiply(compute_, {products, count}, compute_.math);
  }

  // Workers take columns, so that each sum is made by one of them in the order of the choices.
  void add_up(std::span<const Choice> choices, Rows out) {
    constexpr int64_t kFloatsWorthSharing = 16384;
    const int64_t grain =
        std::max<int64_t>(64, kFloatsWorthSharing / static_cast<int64_t>(choices.size()));
    compute_.pool.for_each(y_.columns, grain, [&](int64_t first, int64_t count, int) {
      for (size_t i = 0; i < choices.size(); ++i) {
        compute_.kernels.vector.add_scaled(y_.row(choices[i].row) + first,
                                           out.row(static_cast<int64_t>(i)) + first,
                                           choices[i].weight, count);
      }
    });
  }

  const Compute& compute_;
  const Bank& bank_;
  const ChoicesByExpert& sorted_;
  Rows x_, y_;
};

}  // namespace

void run_experts(const Compute& compute, const Bank& bank, const Routes& routes, Rows x, Rows y) {
  COHORT_CHECK(routes.rows == x.rows && y.rows == x.rows && !bank.down.empty());
  for_each_row(compute, y.rows, y.columns,
               [&](int32_t row) { std::fill_n(y.row(row), y.columns, 0.0f); });
  Scratch scratch(compute.arena);
  const ChoicesByExpert sorted = sort_by_expert(bank, routes, scratch);
  Group group(compute, bank, sorted, x, y);
  const auto experts = static_cast<int32_t>(bank.down.size());
  for (int32_t begin = 0; begin < experts;) {
    int32_t end = begin + 1;
    while (end < experts && sorted.first[end + 1] - sorted.first[begin] <= kRowsAtOnce) ++end;
    group.run(begin, end);
    begin = end;
  }
}

}  // namespace cohort::backend
