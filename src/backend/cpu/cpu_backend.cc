#include "backend/cpu/cpu_backend.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include <fmt/format.h>

#include "backend/cpu/activations.h"
#include "backend/cpu/kv_cache.h"
#include "backend/cpu/routing.h"
#include "base/check.h"
#include "kernels/kernels.h"

namespace cohort::backend {
namespace {

kernels::Gate gate_of(Activation activation) {
  switch (activation) {
    case Activation::kSilu: return kernels::Gate::kSilu;
    case Activation::kGeluTanh: return kernels::Gate::kGeluTanh;
    case Activation::kRelu2: return kernels::Gate::kRelu2;
    case Activation::kGptOss: return kernels::Gate::kGptOss;
  }
  COHORT_CHECK(false);
}

// Rows [rows, columns] of float weights.
struct Dense {
  int32_t rows = 0;
  int32_t columns = 0;
  std::vector<float> values;
  std::vector<float> bias;
};

struct Bank {
  int32_t first = 0;
  std::vector<Dense> gate_up, down;
  Activation activation = Activation::kSilu;
};

struct RopeTable {
  RopeSpec spec;
  int64_t step = -1;  // that the tables are for
  std::vector<float> cos, sin;
};

RowRange resolve(RowRange range, int64_t size) {
  if (range.count < 0) range.count = size - range.first;
  COHORT_CHECK(range.first >= 0 && range.count > 0 && range.first + range.count <= size);
  return range;
}

void append(const MatrixPart& part, int64_t expert, Dense& to) {
  const RowRange rows = resolve(part.rows, part.view.rows);
  const RowRange columns = resolve(part.columns, part.view.columns);
  COHORT_CHECK(to.columns == 0 || to.columns == columns.count);
  std::vector<float> row(static_cast<size_t>(part.view.columns));
  for (int64_t r = rows.first; r < rows.first + rows.count; ++r) {
    dequantize_row(part.view, expert, r, row.data());
    to.values.insert(to.values.end(), row.begin() + columns.first,
                     row.begin() + columns.first + columns.count);
  }
  to.rows += static_cast<int32_t>(rows.count);
  to.columns = static_cast<int32_t>(columns.count);
}

float dot(const float* a, const float* b, int32_t size) {
  float lanes[16] = {};
  int32_t i = 0;
  for (; i + 16 <= size; i += 16) {
    for (int k = 0; k < 16; ++k) lanes[k] += a[i + k] * b[i + k];
  }
  for (; i < size; ++i) lanes[i % 16] += a[i] * b[i];
  float sum = 0;
  for (float lane : lanes) sum += lane;
  return sum;
}

void multiply_row(const Dense& w, const float* x, float* y) {
  for (int32_t r = 0; r < w.rows; ++r) {
    y[r] = dot(w.values.data() + int64_t{r} * w.columns, x, w.columns) +
           (w.bias.empty() ? 0.0f : w.bias[r]);
  }
}

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(const CpuOptions& options)
      : kernels_(options.kernels.empty() ? &kernels::best_kernels()
                                         : kernels::find_kernels(options.kernels)),
        budget_(options.memory_limit_bytes) {
    COHORT_CHECK(kernels_ != nullptr);
  }

  BackendInfo info() const override {
    return {.name = "cpu",
            .detail = fmt::format("{}, 1 thread", kernels_->name),
            .weight_bytes = weight_bytes_,
            .kv_bytes = kv_.size_bytes(),
            .scratch_bytes = acts_.arena().size_bytes()};
  }

  Result<Matrix> load_matrix(std::span<const MatrixPart> parts,
                             std::span<const float> bias) override {
    Dense dense;
    for (const MatrixPart& part : parts) append(part, 0, dense);
    COHORT_CHECK(bias.empty() || static_cast<int32_t>(bias.size()) == dense.rows);
    dense.bias.assign(bias.begin(), bias.end());
    return keep({std::move(dense)});
  }

  Result<Matrix> load_embedding(const MatrixPart& table) override {
    tables_.push_back(table);
    return Matrix{static_cast<int32_t>(tables_.size()) - 1,
                  static_cast<int32_t>(resolve(table.rows, table.view.rows).count),
                  static_cast<int32_t>(table.view.columns)};
  }

  Result<Matrix> load_head_matrices(const MatrixPart& part) override {
    std::vector<Dense> heads(static_cast<size_t>(part.view.experts));
    for (size_t h = 0; h < heads.size(); ++h) append(part, static_cast<int64_t>(h), heads[h]);
    return keep(std::move(heads));
  }

  Result<Vector> load_vector(std::span<const float> values) override {
    vectors_.emplace_back(values.begin(), values.end());
    return Vector{static_cast<int32_t>(vectors_.size()) - 1, static_cast<int32_t>(values.size())};
  }

  Result<ExpertBank> load_experts(const ExpertParts& parts) override {
    const RowRange range = resolve(parts.experts, parts.gate.view.experts);
    Bank bank{.first = static_cast<int32_t>(range.first), .activation = parts.activation};
    for (int64_t e = range.first; e < range.first + range.count; ++e) {
      Dense gate_up, down;
      append(parts.gate, e, gate_up);
      const int32_t gates = gate_up.rows;
      append(parts.up, e, gate_up);
      append(parts.down, e, down);
      append_bias(parts.gate_bias, e, gates, gate_up);
      append_bias(parts.up_bias, e, gates, gate_up);
      append_bias(parts.down_bias, e, down.rows, down);
      bank.gate_up.push_back(std::move(gate_up));
      bank.down.push_back(std::move(down));
    }
    banks_.push_back(std::move(bank));
    return ExpertBank{static_cast<int32_t>(banks_.size()) - 1,
                      static_cast<int32_t>(parts.gate.view.experts)};
  }

  Rope make_rope(const RopeSpec& spec) override {
    COHORT_CHECK(spec.dims % 2 == 0 &&
                 static_cast<int>(spec.inverse_frequencies.size()) == spec.dims / 2);
    ropes_.push_back({.spec = spec});
    return {static_cast<int32_t>(ropes_.size()) - 1};
  }

  Result<void> create_kv(const KvSpec& spec, int32_t pages) override {
    COHORT_TRY(kv_, KvCache::create(spec, pages, budget_));
    return {};
  }
  void copy_kv_page(int32_t from, int32_t to) override { kv_.copy_page(from, to); }

  void begin_step(const StepPlan& plan) override {
    plan_ = &plan;
    ++step_;
    acts_.drop_from(0);
    positions_.clear();
    for (const SequenceRun& run : plan.runs) {
      COHORT_CHECK(run.first_row == static_cast<int32_t>(positions_.size()));
      for (int32_t i = 0; i < run.rows; ++i) positions_.push_back(run.first_position + i);
    }
    COHORT_CHECK(positions_.size() == plan.tokens.size());
  }

  Result<void> read(Tensor x, std::span<float> out) override {
    const Rows rows = acts_.rows(x);
    COHORT_CHECK(out.size() == static_cast<size_t>(rows.rows) * rows.columns);
    for (int32_t r = 0; r < rows.rows; ++r) {
      std::copy_n(rows.row(r), rows.columns, out.data() + int64_t{r} * rows.columns);
    }
    return {};
  }

  int32_t scope_begin() override { return acts_.mark(); }
  void scope_end(int32_t mark) override { acts_.drop_from(mark); }

  Tensor embed(Matrix table, float factor) override {
    const MatrixPart& part = tables_[table.id];
    const RowRange kept = resolve(part.rows, part.view.rows);
    const Tensor y = acts_.make(plan_rows(), table.columns);
    const Rows out = acts_.rows(y);
    for (int32_t r = 0; r < out.rows; ++r) {
      const int32_t token = plan_->tokens[r];
      COHORT_CHECK(token >= 0 && token < kept.count);
      dequantize_row(part.view, 0, kept.first + token, out.row(r));
      if (factor != 1.0f) kernels_->vector.scale(out.row(r), factor, out.columns);
    }
    return y;
  }

  Tensor input(std::span<const float> values, int32_t columns) override {
    COHORT_CHECK(columns > 0 && values.size() % columns == 0);
    const Tensor y = acts_.make(static_cast<int32_t>(values.size() / columns), columns);
    const Rows out = acts_.rows(y);
    for (int32_t r = 0; r < out.rows; ++r) {
      std::copy_n(values.data() + int64_t{r} * columns, columns, out.row(r));
    }
    return y;
  }

  Tensor linear(Matrix w, Tensor x) override {
    const Tensor y = acts_.make(x.rows, w.rows);
    multiply(matrices_[w.id][0], acts_.rows(x), acts_.rows(y));
    return y;
  }

  Tensor head_linear(Matrix w, Tensor x) override {
    const std::vector<Dense>& heads = matrices_[w.id];
    COHORT_CHECK(x.columns == static_cast<int32_t>(heads.size()) * w.columns);
    const Tensor y = acts_.make(x.rows, static_cast<int32_t>(heads.size()) * w.rows);
    for (int32_t h = 0; h < static_cast<int32_t>(heads.size()); ++h) {
      multiply(heads[h], acts_.rows(x.slice(h * w.columns, w.columns)),
               acts_.rows(y.slice(h * w.rows, w.rows)));
    }
    return y;
  }

  Tensor gated_linear(Matrix gate_up, Tensor x, Activation activation) override {
    COHORT_CHECK(gate_up.rows % 2 == 0);
    const int32_t half = gate_up.rows / 2;
    const Tensor y = acts_.make(x.rows, half);
    Scratch scratch(acts_.arena());
    const Rows wide = {scratch.make<float>(int64_t{x.rows} * gate_up.rows), gate_up.rows, x.rows,
                       gate_up.rows};
    multiply(matrices_[gate_up.id][0], acts_.rows(x), wide);
    apply_gate(activation, wide, acts_.rows(y));
    return y;
  }

  Routing route(Matrix router, Tensor x, const RouterSpec& spec, Vector choice_bias) override {
    const Routing routing = acts_.make_routing(x.rows, spec.top_k);
    const Routes& routes = acts_.routes(routing);
    Scratch scratch(acts_.arena());
    const size_t experts = static_cast<size_t>(router.rows);
    float* logits = scratch.make<float>(router.rows);
    float* scores = scratch.make<float>(router.rows);
    const std::span<const float> bias = choice_bias.id < 0
                                            ? std::span<const float>()
                                            : std::span<const float>(vectors_[choice_bias.id]);
    for (int32_t r = 0; r < x.rows; ++r) {
      multiply_row(matrices_[router.id][0], acts_.rows(x).row(r), logits);
      const size_t at = static_cast<size_t>(r) * spec.top_k;
      choose_experts(spec, {logits, experts}, bias, {scores, experts},
                     {routes.experts + at, static_cast<size_t>(spec.top_k)},
                     {routes.weights + at, static_cast<size_t>(spec.top_k)});
    }
    return routing;
  }

  Tensor experts(const ExpertBank& bank_handle, Tensor x, Routing routing) override {
    const Bank& bank = banks_[bank_handle.id];
    const Routes& routes = acts_.routes(routing);
    COHORT_CHECK(routes.rows == x.rows);
    const Tensor y = acts_.make(x.rows, bank.down[0].rows);
    const Rows in = acts_.rows(x), out = acts_.rows(y);
    const int32_t wide = bank.gate_up[0].rows;
    Scratch scratch(acts_.arena());
    float* gate_up = scratch.make<float>(wide);
    float* hidden = scratch.make<float>(wide / 2);
    float* result = scratch.make<float>(out.columns);
    for (int32_t r = 0; r < x.rows; ++r) {
      std::fill_n(out.row(r), out.columns, 0.0f);
      for (int32_t k = 0; k < routes.top_k; ++k) {
        const int32_t e = routes.experts[r * routes.top_k + k] - bank.first;
        if (e < 0 || e >= static_cast<int32_t>(bank.down.size())) continue;
        multiply_row(bank.gate_up[e], in.row(r), gate_up);
        kernels_->vector.gate(gate_of(bank.activation), gate_up, gate_up + wide / 2, hidden,
                              wide / 2);
        multiply_row(bank.down[e], hidden, result);
        kernels_->vector.add_scaled(out.row(r), result, routes.weights[r * routes.top_k + k],
                                    out.columns);
      }
    }
    return y;
  }

  Tensor rms_norm(Tensor x, Vector weight, float eps, int group) override {
    const int32_t size = group == 0 ? x.columns : group;
    COHORT_CHECK(x.columns % size == 0 && (weight.id < 0 || weight.size == size));
    const Tensor y = acts_.make(x.rows, x.columns);
    const Rows in = acts_.rows(x), out = acts_.rows(y);
    const float* w = weight.id < 0 ? nullptr : vectors_[weight.id].data();
    for (int32_t r = 0; r < x.rows; ++r) {
      for (int32_t c = 0; c < x.columns; c += size) {
        kernels_->vector.rms_norm(in.row(r) + c, w, out.row(r) + c, size, eps);
      }
    }
    return y;
  }

  void add(Tensor& sum, Tensor x) override {
    COHORT_CHECK(sum.rows == x.rows && sum.columns == x.columns);
    const Rows to = acts_.rows(sum), from = acts_.rows(x);
    for (int32_t r = 0; r < to.rows; ++r) kernels_->vector.add(to.row(r), from.row(r), to.columns);
  }

  void scale(Tensor& x, float factor) override {
    const Rows rows = acts_.rows(x);
    for (int32_t r = 0; r < rows.rows; ++r)
      kernels_->vector.scale(rows.row(r), factor, rows.columns);
  }

  void rope(Tensor& x, Rope rope, int head_dim, int skip) override {
    const RopeTable& table = rope_table(rope);
    const int pairs = table.spec.dims / 2;
    COHORT_CHECK(x.rows == plan_rows() && x.columns % head_dim == 0 &&
                 skip + table.spec.dims <= head_dim);
    const Rows rows = acts_.rows(x);
    for (int32_t r = 0; r < rows.rows; ++r) {
      const float* cos = table.cos.data() + int64_t{r} * pairs;
      const float* sin = table.sin.data() + int64_t{r} * pairs;
      for (int32_t c = skip; c < rows.columns; c += head_dim) {
        kernels_->vector.rope(rows.row(r) + c, cos, sin, pairs, table.spec.traditional);
      }
    }
  }

  void scale_by_position(Tensor& x, float beta, int original_max) override {
    COHORT_CHECK(x.rows == plan_rows());
    const Rows rows = acts_.rows(x);
    for (int32_t r = 0; r < rows.rows; ++r) {
      const float factor =
          1.0f + beta * std::log(1.0f + static_cast<float>(positions_[r] / original_max));
      kernels_->vector.scale(rows.row(r), factor, rows.columns);
    }
  }

  Tensor attention(Tensor q, Tensor k, Tensor v, const AttentionSpec& spec) override {
    const KvLayer& layer = kv_.layer(spec.layer);
    const int kv_heads = layer.spec.kv_heads;
    COHORT_CHECK(q.rows == plan_rows() && k.rows == q.rows && spec.heads % kv_heads == 0);
    COHORT_CHECK(q.columns == spec.heads * layer.spec.key_dim &&
                 k.columns == kv_heads * layer.spec.key_dim);
    COHORT_CHECK(layer.value_in_key() ? v.id < 0 : v.columns == kv_heads * layer.spec.value_dim);
    COHORT_CHECK(spec.sinks.id < 0 || spec.sinks.size == spec.heads);
    const Tensor y = acts_.make(q.rows, spec.heads * layer.value_columns());
    for (const SequenceRun& run : plan_->runs) append_kv(run, layer, k, v);
    for (const SequenceRun& run : plan_->runs) {
      for (int head = 0; head < kv_heads; ++head)
        attend(run, layer, head, acts_.rows(q), acts_.rows(y), spec);
    }
    return y;
  }

  Tensor concat(std::span<const Tensor> parts, int heads) override {
    COHORT_CHECK(!parts.empty() && heads > 0);
    int32_t columns = 0;
    for (const Tensor& part : parts) {
      COHORT_CHECK(part.rows == parts[0].rows && part.columns % heads == 0);
      columns += part.columns;
    }
    const Tensor y = acts_.make(parts[0].rows, columns);
    int32_t first = 0;
    for (const Tensor& part : parts) {
      const int32_t size = part.columns / heads;
      copy_heads(acts_.rows(part), size, acts_.rows(y), columns / heads, first);
      first += size;
    }
    return y;
  }

  Tensor take_rows(Tensor x, std::span<const int32_t> rows) override {
    const Tensor y = acts_.make(static_cast<int32_t>(rows.size()), x.columns);
    const Rows from = acts_.rows(x), to = acts_.rows(y);
    for (size_t i = 0; i < rows.size(); ++i) {
      COHORT_CHECK(rows[i] >= 0 && rows[i] < x.rows);
      std::copy_n(from.row(rows[i]), x.columns, to.row(static_cast<int64_t>(i)));
    }
    return y;
  }

  void all_sum(Tensor&) override {}
  Tensor all_gather(Tensor x) override { return x; }

 private:
  int32_t plan_rows() const { return static_cast<int32_t>(positions_.size()); }

  Result<Matrix> keep(std::vector<Dense> heads) {
    const int32_t rows = heads[0].rows, columns = heads[0].columns;
    for (const Dense& dense : heads) weight_bytes_ += dense.values.size() * sizeof(float);
    matrices_.push_back(std::move(heads));
    return Matrix{static_cast<int32_t>(matrices_.size()) - 1, rows, columns};
  }

  static void append_bias(const std::vector<float>& bias, int64_t expert, int32_t rows, Dense& to) {
    if (bias.empty()) return;
    to.bias.insert(to.bias.end(), bias.begin() + expert * rows, bias.begin() + (expert + 1) * rows);
  }

  static void multiply(const Dense& w, Rows x, Rows y) {
    COHORT_CHECK(x.columns == w.columns && y.columns == w.rows);
    for (int32_t r = 0; r < x.rows; ++r) multiply_row(w, x.row(r), y.row(r));
  }

  void apply_gate(Activation activation, Rows wide, Rows out) const {
    for (int32_t r = 0; r < out.rows; ++r) {
      kernels_->vector.gate(gate_of(activation), wide.row(r), wide.row(r) + out.columns, out.row(r),
                            out.columns);
    }
  }

  static void copy_heads(Rows from, int32_t size, Rows to, int32_t step, int32_t first) {
    for (int32_t r = 0; r < from.rows; ++r) {
      for (int32_t h = 0; h * size < from.columns; ++h) {
        std::copy_n(from.row(r) + h * size, size, to.row(r) + h * step + first);
      }
    }
  }

  const RopeTable& rope_table(Rope rope) {
    RopeTable& table = ropes_[rope.id];
    if (table.step == step_) return table;
    table.step = step_;
    table.cos.clear();
    table.sin.clear();
    for (int32_t position : positions_) {
      for (float frequency : table.spec.inverse_frequencies) {
        const float angle = static_cast<float>(position) * frequency;
        table.cos.push_back(std::cos(angle) * table.spec.scale);
        table.sin.push_back(std::sin(angle) * table.spec.scale);
      }
    }
    return table;
  }

  void append_kv(const SequenceRun& run, const KvLayer& layer, Tensor k, Tensor v) {
    const kernels::AttentionKernels& attention = kernels_->vector.attention;
    const KvLayerSpec& spec = layer.spec;
    for (int32_t i = 0; i < run.rows; ++i) {
      const int32_t position = run.first_position + i;
      const int32_t page = run.pages[position / kPageTokens], slot = position % kPageTokens;
      for (int h = 0; h < spec.kv_heads; ++h) {
        attention.store_key(kv_.format(), kv_.keys(page, layer, h), slot,
                            acts_.rows(k).row(run.first_row + i) + h * spec.key_dim, spec.key_dim);
        if (layer.value_in_key()) continue;
        attention.store_value(kv_.format(), kv_.values(page, layer, h), slot,
                              acts_.rows(v).row(run.first_row + i) + h * spec.value_dim,
                              spec.value_dim);
      }
    }
  }

  // All query rows of one run that share KV head `head`, some at a time.
  void attend(const SequenceRun& run, const KvLayer& layer, int head, Rows q, Rows y,
              const AttentionSpec& spec) {
    const int group = spec.heads / layer.spec.kv_heads;
    const int32_t total = run.rows * group;
    for (int32_t first = 0; first < total; first += kernels::kMaxAttentionRows) {
      const int32_t count = std::min(total - first, kernels::kMaxAttentionRows);
      attend_tile(run, layer, head, q, y, spec, first, count);
    }
  }

  void attend_tile(const SequenceRun& run, const KvLayer& layer, int head, Rows q, Rows y,
                   const AttentionSpec& spec, int32_t first_item, int32_t items) {
    const int group = spec.heads / layer.spec.kv_heads;
    const int key_dim = layer.spec.key_dim, value_dim = layer.value_columns();
    Scratch scratch(acts_.arena());
    float* queries = scratch.make<float>(int64_t{items} * key_dim);
    int32_t first[kernels::kMaxAttentionRows], last[kernels::kMaxAttentionRows];
    float max[kernels::kMaxAttentionRows], sum[kernels::kMaxAttentionRows];
    float* out = scratch.make<float>(int64_t{items} * value_dim);
    std::fill_n(out, int64_t{items} * value_dim, 0.0f);
    for (int32_t i = 0; i < items; ++i) {
      const int32_t row = run.first_row + (first_item + i) / group,
                    h = head * group + (first_item + i) % group;
      std::copy_n(q.row(row) + h * key_dim, key_dim, queries + int64_t{i} * key_dim);
      last[i] = positions_[row];
      first[i] = spec.window > 0 ? std::max(0, last[i] - spec.window + 1) : 0;
      max[i] = -std::numeric_limits<float>::infinity();
      sum[i] = 0;
    }
    kernels_->vector.scale(queries, spec.scale, int64_t{items} * key_dim);
    kernels::AttentionTile tile{.format = kv_.format(),
                                .rows = items,
                                .key_dim = key_dim,
                                .value_dim = value_dim,
                                .value_in_key = layer.value_in_key(),
                                .queries = queries,
                                .first = first,
                                .last = last,
                                .max = max,
                                .sum = sum,
                                .out = out};
    tile.scratch = scratch.make<float>(
        static_cast<int64_t>(kernels::attention_scratch_floats(key_dim, value_dim)));
    for (int32_t p = first[0] / kPageTokens; p <= last[items - 1] / kPageTokens; ++p) {
      kernels_->vector.attention.attend(tile, kv_.keys(run.pages[p], layer, head),
                                        kv_.values(run.pages[p], layer, head), p * kPageTokens);
    }
    for (int32_t i = 0; i < items; ++i) {
      const int32_t row = run.first_row + (first_item + i) / group,
                    h = head * group + (first_item + i) % group;
      float factor = 1.0f / sum[i];
      if (spec.sinks.id >= 0) {
        const float sink = vectors_[spec.sinks.id][h];
        const float top = std::max(max[i], sink);
        factor = std::exp(max[i] - top) / (sum[i] * std::exp(max[i] - top) + std::exp(sink - top));
      }
      float* to = y.row(row) + h * value_dim;
      std::copy_n(out + int64_t{i} * value_dim, value_dim, to);
      kernels_->vector.scale(to, factor, value_dim);
    }
  }

  const kernels::Kernels* kernels_;
  MemoryBudget budget_;
  uint64_t weight_bytes_ = 0;
  std::vector<std::vector<Dense>> matrices_;
  std::vector<MatrixPart> tables_;
  std::vector<std::vector<float>> vectors_;
  std::vector<Bank> banks_;
  std::vector<RopeTable> ropes_;
  KvCache kv_;
  Activations acts_;
  const StepPlan* plan_ = nullptr;
  int64_t step_ = 0;
  std::vector<int32_t> positions_;
};

}  // namespace

std::vector<std::string> cpu_kernel_names() {
  std::vector<std::string> names;
  for (const kernels::Kernels* kernels : kernels::available_kernels())
    names.emplace_back(kernels->name);
  return names;
}

std::unique_ptr<Backend> make_cpu_backend(const CpuOptions& options) {
  return std::make_unique<CpuBackend>(options);
}

}  // namespace cohort::backend
