// Weights and KV cache of the lazy backend, as plain floats.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "backend/parts.h"
#include "backend/testing/lazy_graph.h"

namespace cohort::backend::testing {

// ---- weights: floats, row by row ----

struct Dense {
  int32_t rows = 0, columns = 0;
  Values values, bias;

  void append(const MatrixPart& part, int64_t expert) {
    const RowRange kept = resolve(part.rows, part.view.rows);
    const RowRange range = resolve(part.columns, part.view.columns);
    Values row(static_cast<size_t>(part.view.columns));
    for (int64_t r = kept.first; r < kept.first + kept.count; ++r) {
      dequantize_row(part.view, expert, r, row.data());
      const auto from = row.begin() + range.first;
      values.insert(values.end(), from, from + range.count);
    }
    rows += static_cast<int32_t>(kept.count);
    columns = static_cast<int32_t>(range.count);
  }
  void multiply(const float* x, float* y) const {
    for (int32_t r = 0; r < rows; ++r) {
      y[r] = static_cast<float>(dot(&values[size_t{1} * r * columns], x, columns) +
                                (bias.empty() ? 0.0f : bias[r]));
    }
  }
};

inline void gate_halves(Activation activation, const Values& both, float* out) {
  const size_t half = both.size() / 2;
  for (size_t i = 0; i < half; ++i)
    out[i] = static_cast<float>(gate(activation, both[i], both[half + i]));
}

struct Bank {
  int64_t first = 0;
  Activation activation = Activation::kSilu;
  std::vector<Dense> gate_up, down;

  void add(const float* x, int64_t expert, float weight, float* sum) const {
    if (weight == 0 || expert < first || expert >= first + static_cast<int64_t>(down.size()))
      return;
    const Dense& in = gate_up[expert - first];
    const Dense& out = down[expert - first];
    Values both(static_cast<size_t>(in.rows)), hidden(both.size() / 2), y(out.rows);
    in.multiply(x, both.data());
    gate_halves(activation, both, hidden.data());
    out.multiply(hidden.data(), y.data());
    for (int32_t i = 0; i < out.rows; ++i) sum[i] += weight * y[i];
  }
};

// ---- the KV cache: a row a position of each page, in float32 ----

struct KvLayer {
  KvLayerSpec spec;
  Values keys, values;

  int32_t key_columns() const { return spec.kv_heads * spec.key_dim; }
  int32_t value_columns() const { return spec.kv_heads * spec.value_dim; }
  int32_t value_dim() const { return spec.value_dim > 0 ? spec.value_dim : spec.value_prefix; }
  const float* key(size_t slot, int head) const {
    return &keys[slot * key_columns() + size_t{1} * head * spec.key_dim];
  }
  const float* value(size_t slot, int head) const {
    return spec.value_dim > 0 ? &values[slot * value_columns() + size_t{1} * head * spec.value_dim]
                              : key(slot, head);
  }
};

inline size_t slot_of(const SequenceRun& run, int32_t position) {
  return static_cast<size_t>(run.pages[position / kPageTokens]) * kPageTokens +
         position % kPageTokens;
}

struct AttentionNode {
  KvLayer& layer;
  AttentionSpec spec;
  Values sinks;
  NodePtr q, k, v;  // v: null with values in the keys

  Values operator()(const StepPlan& plan) const {
    Values out(static_cast<size_t>(q->rows()) * spec.heads * layer.value_dim());
    for (const SequenceRun& run : plan.runs) {
      for (int32_t i = 0; i < run.rows; ++i)
        append(run.first_row + i, slot_of(run, run.first_position + i));
      for (int32_t i = 0; i < run.rows; ++i) {
        for (int head = 0; head < spec.heads; ++head) attend(run, i, head, out);
      }
    }
    return out;
  }

 private:
  void append(int32_t row, size_t slot) const {
    std::copy_n(k->row(row), layer.key_columns(), &layer.keys[slot * layer.key_columns()]);
    if (v)
      std::copy_n(v->row(row), layer.value_columns(), &layer.values[slot * layer.value_columns()]);
  }

  void attend(const SequenceRun& run, int32_t i, int head, Values& out) const {
    const int32_t position = run.first_position + i, dim = layer.value_dim();
    const int32_t first = spec.window > 0 ? std::max(0, position - spec.window + 1) : 0;
    const int kv_head = head / (spec.heads / layer.spec.kv_heads);
    const float* query = q->row(run.first_row + i) + size_t{1} * head * layer.spec.key_dim;
    std::vector<double> sum(dim);
    double total = sinks.empty() ? 0 : std::exp(double{sinks[head]});
    for (int32_t p = first; p <= position; ++p) {
      const size_t slot = slot_of(run, p);
      const double weight =
          std::exp(dot(query, layer.key(slot, kv_head), layer.spec.key_dim) * spec.scale);
      total += weight;
      for (int32_t d = 0; d < dim; ++d) sum[d] += weight * layer.value(slot, kv_head)[d];
    }
    float* to = &out[(size_t{1} * (run.first_row + i) * spec.heads + head) * dim];
    for (int32_t d = 0; d < dim; ++d) to[d] = static_cast<float>(sum[d] / total);
  }
};

}  // namespace cohort::backend::testing
