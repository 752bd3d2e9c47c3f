#include "backend/mlx/mlx_backend.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "backend/cpu/collectives.h"
#include "backend/cpu/memory.h"
#include "backend/mlx/columns.h"
#include "backend/mlx/kv_cache.h"
#include "backend/mlx/mixture.h"
#include "backend/mlx/rope.h"
#include "backend/mlx/weights.h"
#include "backend/parts.h"
#include "base/check.h"

namespace cohort::backend {
namespace {

using namespace mlx_parts;

// Freed arrays that MLX may keep for the next step: a share of the budget, and a gibibyte at most.
constexpr uint64_t kMostCacheBytes = uint64_t{1} << 30;
constexpr uint64_t kCacheShare = 8;

class MlxBackend final : public Backend {
 public:
  MlxBackend(const MlxOptions& options, const MlxDevice& device)
      : device_(device),
        budget_(options.memory_limit_bytes),
        precision_{.activations = options.math == Math::kF32 ? mx::float32 : mx::bfloat16,
                   .widen = options.math == Math::kF32} {
    if (options.memory_limit_bytes == 0) return;
    mx::set_memory_limit(options.memory_limit_bytes);
    mx::set_cache_limit(std::min(kMostCacheBytes, options.memory_limit_bytes / kCacheShare));
  }

  BackendInfo info() const override {
    const uint64_t kept = weight_bytes_ + kv_.size_bytes(), peak = mx::get_peak_memory();
    return {.name = "mlx",
            .detail = device_.name,
            .weight_bytes = weight_bytes_,
            .kv_bytes = kv_.size_bytes(),
            .scratch_bytes = peak - std::min(peak, kept)};
  }

  // ---- at load ----

  Result<Matrix> load_matrix(std::span<const MatrixPart> parts,
                             std::span<const float> bias) override {
    return keep({.parts = parts, .bias = bias});
  }

  Result<Matrix> load_embedding(const MatrixPart& table) override {
    tables_.push_back(table);
    tables_.back().rows = resolve(table.rows, table.view.rows);
    COHORT_CHECK(resolve(table.columns, table.view.columns).count == table.view.columns);
    return Matrix{static_cast<int32_t>(tables_.size()) - 1,
                  static_cast<int32_t>(tables_.back().rows.count),
                  static_cast<int32_t>(table.view.columns)};
  }

  Result<Matrix> load_head_matrices(const MatrixPart& part) override {
    return keep({.parts = {&part, 1}, .entries = RowRange{0, part.view.experts}});
  }

  Result<Vector> load_vector(std::span<const float> values) override {
    const auto size = static_cast<int32_t>(values.size());
    COHORT_TRY(mx::array made,
               caught([&] { return mx::array(values.data(), {size}, mx::float32); }));
    vectors_.push_back(std::move(made));
    return Vector{static_cast<int32_t>(vectors_.size()) - 1, size};
  }

  Result<ExpertBank> load_experts(const ExpertParts& parts) override {
    const int64_t experts = parts.gate.view.experts;
    const RowRange kept = resolve(parts.experts, experts);
    std::vector<float> gate_up_bias, down_bias;
    for (int64_t e = kept.first; e < kept.first + kept.count; ++e) {
      append_entry(parts.gate_bias, experts, e, gate_up_bias);
      append_entry(parts.up_bias, experts, e, gate_up_bias);
      append_entry(parts.down_bias, experts, e, down_bias);
    }
    const MatrixPart gate_up[] = {parts.gate, parts.up};
    Bank bank{.kept = kept, .experts = static_cast<int>(experts), .activation = parts.activation};
    COHORT_TRY(bank.gate_up,
               load({.parts = gate_up, .bias = gate_up_bias, .entries = kept, .gathered = true}));
    COHORT_TRY(
        bank.down,
        load({.parts = {&parts.down, 1}, .bias = down_bias, .entries = kept, .gathered = true}));
    banks_.push_back(std::move(bank));
    return ExpertBank{static_cast<int32_t>(banks_.size()) - 1, static_cast<int32_t>(experts)};
  }

  Rope make_rope(const RopeSpec& spec) override {
    COHORT_CHECK(static_cast<int>(spec.inverse_frequencies.size()) * 2 == spec.dims);
    ropes_.emplace_back(spec);
    return {static_cast<int32_t>(ropes_.size()) - 1};
  }

  Result<void> create_kv(const KvSpec& spec, int32_t pages) override {
    COHORT_TRY(kv_, KvCache::create(spec, pages, precision_.activations, budget_));
    return caught([&] {
      // Weights and cache stay where the GPU finds them, however long nobody asks.
      if (device_.gpu_limit_bytes > 0)
        mx::set_wired_limit(std::min(device_.gpu_limit_bytes, weight_bytes_ + kv_.size_bytes()));
      mx::clear_cache();
      mx::reset_peak_memory();
    });
  }
  void copy_kv_page(int32_t from, int32_t to) override {
    attempt([&] { kv_.copy_page(from, to); });
  }

  // ---- a step ----

  void begin_step(const StepPlan& plan) override {
    slots_.clear();
    select_rows(plan);
  }

  void select_rows(const StepPlan& part) override {
    plan_ = &part;
    positions_.clear();
    for (const SequenceRun& run : part.runs) {
      COHORT_CHECK(run.first_row == static_cast<int32_t>(positions_.size()));
      for (int32_t i = 0; i < run.rows; ++i) positions_.push_back(run.first_position + i);
    }
    COHORT_CHECK(positions_.size() == part.tokens.size());
    step_slots_.reset();
    for (RopeTable& rope : ropes_) rope.begin_step();
  }

  Result<void> read(Tensor x, std::span<float> out) override {
    COHORT_CHECK(out.size() == static_cast<size_t>(x.rows) * x.columns);
    std::optional<mx::array> result;
    attempt([&] { result = mx::contiguous(mx::astype(take(x), mx::float32)); });
    COHORT_TRY_VOID(evaluate(result));
    std::copy_n(result->data<float>(), out.size(), out.data());
    return {};
  }
  Result<void> finish() override { return evaluate({}); }

  int32_t scope_begin() override { return static_cast<int32_t>(slots_.size()); }
  void scope_end(int32_t mark) override { slots_.resize(mark); }

  // On the host: a step touches few rows, which it widens exactly.
  Tensor embed(Matrix table, float factor) override {
    const MatrixPart& part = tables_[table.id];
    const size_t columns = static_cast<size_t>(table.columns);
    std::vector<float> values(plan_->tokens.size() * columns);
    for (size_t r = 0; r < plan_->tokens.size(); ++r) {
      const int64_t token = plan_->tokens[r];
      COHORT_CHECK(token >= 0 && token < part.view.rows);
      if (token < part.rows.first || token >= part.rows.first + part.rows.count) continue;
      dequantize_row(part.view, 0, token, &values[r * columns]);
    }
    for (float& value : values) value *= factor;
    return input(values, table.columns);
  }

  Tensor input(std::span<const float> values, int32_t columns) override {
    COHORT_CHECK(columns > 0 && values.size() % columns == 0);
    const auto rows = static_cast<int32_t>(values.size()) / columns;
    return record(rows, columns, [&] {
      return narrowed(mx::array(values.data(), {rows, columns}, mx::float32));
    });
  }

  Tensor linear(Matrix w, Tensor x) override {
    COHORT_CHECK(x.columns == w.columns);
    return record(x.rows, w.rows, [&] { return multiply(matrices_[w.id], take(x)); });
  }

  Tensor head_linear(Matrix w, Tensor x) override {
    const Linear& weights = matrices_[w.id];
    const int heads = weights.segments[0].weight.shape(0);
    COHORT_CHECK(x.columns == heads * w.columns);
    return record(x.rows, heads * w.rows, [&] {
      const mx::array in = mx::swapaxes(mx::reshape(take(x), {x.rows, heads, w.columns}), 0, 1);
      return mx::reshape(mx::swapaxes(multiply(weights, in)[0], 0, 1), {x.rows, heads * w.rows});
    });
  }

  Tensor gated_linear(Matrix gate_up, Tensor x, Activation activation) override {
    COHORT_CHECK(gate_up.rows % 2 == 0 && x.columns == gate_up.columns);
    const int32_t half = gate_up.rows / 2;
    return record(x.rows, half, [&] {
      const Columns both(multiply(matrices_[gate_up.id], take(x)));
      return gate(activation, both.take(0, half), both.take(half, half));
    });
  }

  Routing route(Matrix router, Tensor x, const RouterSpec& spec, Vector choice_bias) override {
    slots_.emplace_back();
    attempt([&] {
      const Columns logits(multiply(matrices_[router.id], take(x), mx::float32));
      slots_.back().routes =
          choose_experts(logits.take(0, router.rows), spec, vector_or_none(choice_bias));
    });
    return {static_cast<int32_t>(slots_.size()) - 1};
  }

  Tensor experts(const ExpertBank& bank, Tensor x, Routing routing) override {
    const Bank& weights = banks_[bank.id];
    return record(x.rows, weights.down.rows,
                  [&] { return run_experts(weights, take(x), *slots_[routing.id].routes); });
  }

  Tensor rms_norm(Tensor x, Vector weight, float eps, int group) override {
    const int32_t size = group == 0 ? x.columns : group;
    COHORT_CHECK(x.columns % size == 0 && (weight.id < 0 || weight.size == size));
    return record(x.rows, x.columns, [&] {
      std::optional<mx::array> factors = vector_or_none(weight);
      if (factors) factors = narrowed(*factors);
      const mx::array groups = mx::reshape(take(x), {x.rows, -1, size});
      return mx::reshape(mx::fast::rms_norm(groups, factors, eps), {x.rows, x.columns});
    });
  }

  void add(Tensor& sum, Tensor x) override {
    COHORT_CHECK(sum.rows == x.rows && sum.columns == x.columns);
    change(sum, [&](const mx::array& old) { return mx::add(old, take(x)); });
  }

  void scale(Tensor& x, float factor) override {
    change(x,
           [&](const mx::array& old) { return mx::multiply(old, mx::array(factor, old.dtype())); });
  }

  void rope(Tensor& x, Rope rope, int head_dim, int skip) override {
    RopeTable& table = ropes_[rope.id];
    COHORT_CHECK(x.rows == plan_rows() && x.columns % head_dim == 0 &&
                 skip + table.dims() <= head_dim);
    change(x, [&](const mx::array& old) { return table.rotate(old, positions_, head_dim, skip); });
  }

  void scale_by_position(Tensor& x, float beta, int original_max) override {
    COHORT_CHECK(x.rows == plan_rows());
    std::vector<float> factors;
    factors.reserve(positions_.size());
    for (const int32_t position : positions_) {
      const int32_t whole = position / original_max;
      factors.push_back(1.0f + beta * std::log(1.0f + static_cast<float>(whole)));
    }
    change(x, [&](const mx::array& old) {
      return mx::multiply(old, narrowed(mx::array(factors.data(), {x.rows, 1}, mx::float32)));
    });
  }

  Tensor attention(Tensor q, Tensor k, Tensor v, const AttentionSpec& spec) override {
    const KvLayerSpec& kv = kv_.spec(spec.layer);
    COHORT_CHECK(q.rows == plan_rows() && k.rows == q.rows && spec.heads % kv.kv_heads == 0);
    COHORT_CHECK(q.columns == spec.heads * kv.key_dim && k.columns == kv.kv_heads * kv.key_dim);
    COHORT_CHECK(kv.value_dim == 0 ? v.id < 0 : v.columns == kv.kv_heads * kv.value_dim);
    COHORT_CHECK(spec.sinks.id < 0 || spec.sinks.size == spec.heads);
    const int32_t value_dim = kv.value_dim > 0 ? kv.value_dim : kv.value_prefix;
    return record(q.rows, spec.heads * value_dim, [&] {
      if (!step_slots_) step_slots_.emplace(*plan_);
      AttentionInput in{.q = take(q), .k = take(k), .sinks = vector_or_none(spec.sinks)};
      if (v.id >= 0) in.v = take(v);
      if (in.sinks) in.sinks = narrowed(*in.sinks);
      return kv_.attend(*step_slots_, in, spec);
    });
  }

  Tensor concat(std::span<const Tensor> parts, int heads) override {
    COHORT_CHECK(!parts.empty() && heads > 0);
    const int32_t rows = parts[0].rows;
    int32_t columns = 0;
    for (const Tensor& part : parts) {
      COHORT_CHECK(part.rows == rows && part.columns % heads == 0);
      columns += part.columns;
    }
    return record(rows, columns, [&] {
      std::vector<mx::array> arrays;
      for (const Tensor& part : parts)
        arrays.push_back(mx::reshape(take(part), {rows, heads, part.columns / heads}));
      return mx::reshape(mx::concatenate(std::move(arrays), 2), {rows, columns});
    });
  }

  Tensor take_rows(Tensor x, std::span<const int32_t> rows) override {
    const auto count = static_cast<int32_t>(rows.size());
    for (const int32_t row : rows) COHORT_CHECK(row >= 0 && row < x.rows);
    return record(count, x.columns,
                  [&] { return mx::take(take(x), mx::array(rows.data(), {count}, mx::int32), 0); });
  }

  // ---- between ranks: in float32, whatever activations are, since others may compute otherwise ----

  void set_group(transport::Group* group) override { collectives_.set_group(group); }

  void all_sum(Tensor& x) override {
    if (collectives_.alone()) return;
    change(x, [&](const mx::array& old) { return summed(old); });
  }
  // At once: the graph is not evaluated beside it.
  void begin_sum(Tensor x) override {
    attempt([&] { begun_ = collectives_.alone() ? take(x) : summed(take(x)); });
  }
  void add_sum(Tensor& h) override {
    change(h, [&](const mx::array& old) { return mx::add(old, *begun_); });
    begun_.reset();
  }

  void send(int to, Tensor x) override {
    attempt([&] {
      mx::array values = on_host(take(x));
      collectives_.send(to, rows_in(values));
    });
  }

  // What was recorded last, and all it is made of, is computed meanwhile.
  Tensor receive(int from, int32_t rows, int32_t columns) override {
    if (!slots_.empty()) attempt([&] { mx::async_eval(slots_.back().columns.parts()); });
    return record(rows, columns, [&] {
      mx::array values = on_host(mx::zeros({rows, columns}, mx::float32));
      collectives_.receive(from, rows_in(values));
      return values;
    });
  }

 private:
  struct Slot {
    Columns columns;
    std::optional<mlx_parts::Routes> routes;
  };

  int32_t plan_rows() const { return static_cast<int32_t>(positions_.size()); }
  mx::array narrowed(const mx::array& x) const { return mx::astype(x, precision_.activations); }
  std::optional<mx::array> vector_or_none(Vector v) const {
    if (v.id < 0) return std::nullopt;
    return vectors_[v.id];
  }

  mx::array summed(const mx::array& part) {
    mx::array sums = on_host(part);
    // Others may still read what is not ours alone.
    if (!sums.is_donatable()) sums = own_copy(sums);
    collectives_.all_sum(rows_in(sums));
    return narrowed(sums);
  }

  static void append_entry(const std::vector<float>& all, int64_t entries, int64_t entry,
                           std::vector<float>& to) {
    const auto size = static_cast<int64_t>(all.size()) / entries;
    to.insert(to.end(), all.begin() + entry * size, all.begin() + (entry + 1) * size);
  }

  Result<Linear> load(const StackOptions& stack) {
    COHORT_TRY(Linear weights, load_linear(stack, precision_, budget_));
    weight_bytes_ += size_of(weights);
    return weights;
  }
  Result<Matrix> keep(const StackOptions& stack) {
    COHORT_TRY(Linear weights, load(stack));
    matrices_.push_back(std::move(weights));
    const Linear& kept = matrices_.back();
    return Matrix{static_cast<int32_t>(matrices_.size()) - 1, kept.rows, kept.columns};
  }

  // Evaluated, in float32, row after row in memory that we can reach.
  static mx::array on_host(const mx::array& x) {
    mx::array values = mx::contiguous(mx::astype(x, mx::float32));
    mx::eval(values);
    return values;
  }
  static Rows rows_in(mx::array& values) {
    return {.data = values.data<float>(),
            .stride = values.shape(1),
            .rows = values.shape(0),
            .columns = values.shape(1)};
  }

  // Builds a part of the graph. After the first error nothing is built any more: read() and finish() return it.
  template <class Build>
  void attempt(Build&& build) {
    if (error_) return;
    if (Result<void> done = caught(build); !done) error_ = std::move(done).error();
  }
  template <class Build>
  Tensor record(int32_t rows, int32_t columns, Build&& build) {
    slots_.emplace_back();
    const Tensor made{static_cast<int32_t>(slots_.size()) - 1, rows, 0, columns};
    attempt([&] { slots_.back().columns = Columns(build()); });
    return made;
  }
  template <class Change>
  void change(Tensor x, Change&& change) {
    attempt([&] { slots_[x.id].columns.replace(x.first_column, change(take(x))); });
  }
  mx::array take(Tensor x) const { return slots_[x.id].columns.take(x.first_column, x.columns); }

  // The step's one evaluation: of `result`, and of what the cache is to hold.
  Result<void> evaluate(const std::optional<mx::array>& result) {
    attempt([&] {
      std::vector<mx::array> outputs;
      if (result) outputs.push_back(*result);
      kv_.append_to(outputs);
      mx::eval(std::move(outputs));
    });
    if (error_) return tl::unexpected(*error_);
    return collectives_.status();
  }

  const MlxDevice device_;
  MemoryBudget budget_;
  const Precision precision_;

  // constant once loaded
  std::vector<Linear> matrices_;
  std::vector<MatrixPart> tables_;  // mapped
  std::vector<mx::array> vectors_;  // float32
  std::vector<Bank> banks_;
  uint64_t weight_bytes_ = 0;

  KvCache kv_;

  // of the step
  std::vector<Slot> slots_;
  std::vector<RopeTable> ropes_;
  std::optional<StepSlots> step_slots_;
  const StepPlan* plan_ = nullptr;
  std::vector<int32_t> positions_;  // a row
  std::optional<mx::array> begun_;  // a sum
  Collectives collectives_;
  std::optional<Error> error_;
};

}  // namespace

Result<std::unique_ptr<Backend>> make_mlx_backend(const MlxOptions& options) {
  COHORT_TRY(const MlxDevice device, mlx_device());
  return caught(
      [&]() -> std::unique_ptr<Backend> { return std::make_unique<MlxBackend>(options, device); });
}

}  // namespace cohort::backend
