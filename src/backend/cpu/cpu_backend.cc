#include "backend/cpu/cpu_backend.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>

#include "backend/cpu/attention.h"
#include "backend/cpu/collectives.h"
#include "backend/cpu/cores.h"
#include "backend/cpu/experts.h"
#include "backend/cpu/kv_cache.h"
#include "backend/cpu/products.h"
#include "backend/cpu/rope_tables.h"
#include "backend/cpu/routing.h"
#include "base/check.h"

namespace cohort::backend {
namespace {

const kernels::Kernels& pick_kernels(const std::string& name) {
  if (name.empty()) return kernels::best_kernels();
  const kernels::Kernels* kernels = kernels::find_kernels(name);
  COHORT_CHECK(kernels != nullptr);
  return *kernels;
}

int workers_of(const CpuOptions& options) {
  return options.threads > 0 ? options.threads : usable_cores();
}

// Columns [first, first + size) of each head of `step` columns of `to` = the heads of `from`, one after the other.
void copy_heads(const float* from, int32_t heads, int32_t size, float* to, int32_t step) {
  for (int32_t h = 0; h < heads; ++h)
    std::copy_n(from + int64_t{h} * size, size, to + int64_t{h} * step);
}

std::vector<Stretch> no_stretches() { return {}; }

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(const CpuOptions& options)
      : kernels_(pick_kernels(options.kernels)),
        budget_(options.memory_limit_bytes),
        ahead_(workers_of(options), static_cast<int64_t>(second_level_cache_bytes() / 2)),
        pool_({.workers = workers_of(options),
               .idle = [this](int worker) { ahead_.fetch(worker); },
               .pace = options.pace}),
        store_(budget_, pool_),
        compute_{kernels_, options.math, pool_, acts_.arena(), ahead_},
        collectives_([this] { ahead_.fetch(0); }) {}

  BackendInfo info() const override {
    return {.name = "cpu",
            .detail = fmt::format("{}, {} thread{}", kernels_.name, pool_.workers(),
                                  pool_.workers() == 1 ? "" : "s"),
            .threads = pool_.workers(),
            .weight_bytes = store_.size_bytes(),
            .kv_bytes = kv_.size_bytes(),
            .scratch_bytes = acts_.arena().size_bytes()};
  }

  // ---- at load ----

  Result<Matrix> load_matrix(std::span<const MatrixPart> parts,
                             std::span<const float> bias) override {
    const WeightStore::Stack stack{.parts = {parts.begin(), parts.end()},
                                   .bias = {bias.begin(), bias.end()}};
    return keep({&stack, 1});
  }

  Result<Matrix> load_gate_up(const MatrixPart& gate, const MatrixPart& up,
                              std::span<const float> bias) override {
    const WeightStore::Stack stack{
        .parts = {gate, up}, .bias = {bias.begin(), bias.end()}, .gated = true};
    return keep({&stack, 1});
  }

  Result<Matrix> load_embedding(const MatrixPart& table) override {
    MatrixPart kept = table;
    kept.rows = resolve(table.rows, table.view.rows);
    COHORT_CHECK(resolve(table.columns, table.view.columns).count == table.view.columns);
    tables_.push_back(kept);
    return Matrix{static_cast<int32_t>(tables_.size()) - 1, static_cast<int32_t>(kept.rows.count),
                  static_cast<int32_t>(kept.view.columns)};
  }

  Result<Matrix> load_head_matrices(const MatrixPart& part) override {
    std::vector<WeightStore::Stack> heads;
    for (int64_t h = 0; h < part.view.experts; ++h) heads.push_back({.parts = {part}, .expert = h});
    return keep(heads);
  }

  Result<Vector> load_vector(std::span<const float> values) override {
    vectors_.emplace_back(values.begin(), values.end());
    return Vector{static_cast<int32_t>(vectors_.size()) - 1, static_cast<int32_t>(values.size())};
  }

  Result<ExpertBank> load_experts(const ExpertParts& parts) override {
    const RowRange kept = resolve(parts.experts, parts.gate.view.experts);
    std::vector<WeightStore::Stack> gate_up, down;
    for (int64_t e = kept.first; e < kept.first + kept.count; ++e) {
      gate_up.push_back({.parts = {parts.gate, parts.up}, .expert = e, .gated = true});
      append_bias(parts.gate_bias, parts.gate.view.experts, e, gate_up.back().bias);
      append_bias(parts.up_bias, parts.up.view.experts, e, gate_up.back().bias);
      down.push_back({.parts = {parts.down}, .expert = e});
      append_bias(parts.down_bias, parts.down.view.experts, e, down.back().bias);
    }
    Bank bank{.first = static_cast<int32_t>(kept.first), .activation = parts.activation};
    COHORT_TRY(bank.gate_up, store_.pack(gate_up));
    COHORT_TRY(bank.down, store_.pack(down));
    banks_.push_back(std::move(bank));
    return ExpertBank{static_cast<int32_t>(banks_.size()) - 1,
                      static_cast<int32_t>(parts.gate.view.experts)};
  }

  Rope make_rope(const RopeSpec& spec) override {
    COHORT_CHECK(spec.dims % 2 == 0 &&
                 static_cast<int>(spec.inverse_frequencies.size()) == spec.dims / 2);
    ropes_.emplace_back(spec);
    return {static_cast<int32_t>(ropes_.size()) - 1};
  }

  Result<void> create_kv(const KvSpec& spec, int32_t pages) override {
    COHORT_TRY(kv_, KvCache::create(spec, pages, budget_));
    return {};
  }
  void copy_kv_page(int32_t from, int32_t to) override { kv_.copy_page(from, to); }

  // ---- a step ----

  void begin_step(const StepPlan& plan) override {
    acts_.drop_from(0);
    select_rows(plan);
  }

  void select_rows(const StepPlan& part) override {
    plan_ = &part;
    ++step_;
    positions_.clear();
    for (const SequenceRun& run : part.runs) {
      COHORT_CHECK(run.first_row == static_cast<int32_t>(positions_.size()));
      for (int32_t i = 0; i < run.rows; ++i) positions_.push_back(run.first_position + i);
    }
    COHORT_CHECK(positions_.size() == part.tokens.size());
  }

  Result<void> read(Tensor x, std::span<float> out) override {
    COHORT_TRY_VOID(finish());
    const Rows rows = acts_.rows(x);
    COHORT_CHECK(out.size() == static_cast<size_t>(rows.rows) * rows.columns);
    for (int32_t r = 0; r < rows.rows; ++r) {
      std::copy_n(rows.row(r), rows.columns, out.data() + int64_t{r} * rows.columns);
    }
    return {};
  }

  Result<void> finish() override { return collectives_.status(); }

  int32_t scope_begin() override { return acts_.mark(); }
  void scope_end(int32_t mark) override { acts_.drop_from(mark); }

  Tensor embed(Matrix table, float factor) override {
    const MatrixPart& part = tables_[table.id];
    const Tensor y = acts_.make(plan_rows(), table.columns);
    const Rows out = acts_.rows(y);
    for_each_row(compute_, out.rows, out.columns, [&](int32_t r) {
      const int64_t token = plan_->tokens[r];
      COHORT_CHECK(token >= 0 && token < part.view.rows);
      if (token < part.rows.first || token >= part.rows.first + part.rows.count) {
        std::fill_n(out.row(r), out.columns, 0.0f);
        return;
      }
      dequantize_row(part.view, 0, token, out.row(r));
      if (factor != 1.0f) kernels_.vector.scale(out.row(r), factor, out.columns);
    });
    return y;
  }

  Tensor input(std::span<const float> values, int32_t columns) override {
    COHORT_CHECK(columns > 0 && values.size() % columns == 0);
    const Tensor y = acts_.make(static_cast<int32_t>(values.size() / columns), columns);
    const Rows out = acts_.rows(y);
    for (int32_t r = 0; r < out.rows; ++r)
      std::copy_n(values.data() + int64_t{r} * columns, columns, out.row(r));
    return y;
  }

  Tensor linear(Matrix w, Tensor x) override {
    const Tensor y = acts_.make(x.rows, w.rows);
    multiply(compute_, {.weights = &matrices_[w.id][0], .x = acts_.rows(x), .y = acts_.rows(y)});
    collectives_.go_on();
    return y;
  }

  Tensor head_linear(Matrix w, Tensor x) override {
    const std::vector<Weights>& heads = matrices_[w.id];
    const auto count = static_cast<int32_t>(heads.size());
    COHORT_CHECK(x.columns == count * w.columns);
    const Tensor y = acts_.make(x.rows, count * w.rows);
    Scratch scratch(acts_.arena());
    Product* products = scratch.make<Product>(count);
    for (int32_t h = 0; h < count; ++h) {
      products[h] = {.weights = &heads[h],
                     .x = acts_.rows(x.slice(h * w.columns, w.columns)),
                     .y = acts_.rows(y.slice(h * w.rows, w.rows))};
    }
    multiply(compute_, {products, heads.size()}, compute_.math);
    ahead_.begin(&heads, no_stretches);
    return y;
  }

  Tensor gated_linear(Matrix gate_up, Tensor x, Activation activation) override {
    COHORT_CHECK(gate_up.rows % 2 == 0);
    const Weights& weights = matrices_[gate_up.id][0];
    const Tensor y = acts_.make(x.rows, gate_up.rows / 2);
    multiply(compute_,
             {.weights = &weights, .x = acts_.rows(x), .y = acts_.rows(y), .gate = activation});
    collectives_.go_on();
    return y;
  }

  Routing route(Matrix router, Tensor x, const RouterSpec& spec, Vector choice_bias) override {
    const Routing routing = acts_.make_routing(x.rows, spec.top_k);
    const Routes routes = acts_.routes(routing);
    const std::span<const float> bias = vector_or_empty(choice_bias);
    const int32_t mark = acts_.mark();
    const Rows logits = acts_.rows(acts_.make(x.rows, router.rows));
    const Rows scores = acts_.rows(acts_.make(x.rows, router.rows));
    // A choice is brittle: a logit a little off takes another expert. The product is small, so it is made in full.
    const Product product{.weights = &matrices_[router.id][0], .x = acts_.rows(x), .y = logits};
    multiply(compute_, {&product, 1}, Math::kF32);
    const auto experts = static_cast<size_t>(router.rows), chosen = static_cast<size_t>(spec.top_k);
    for_each_row(compute_, x.rows, int64_t{router.rows} * spec.top_k, [&](int32_t r) {
      choose_experts(spec, {logits.row(r), experts}, bias, {scores.row(r), experts},
                     {routes.experts + r * chosen, chosen}, {routes.weights + r * chosen, chosen});
    });
    acts_.drop_from(mark);
    return routing;
  }

  Tensor experts(const ExpertBank& bank, Tensor x, Routing routing) override {
    const Bank& weights = banks_[bank.id];
    const Tensor y = acts_.make(x.rows, weights.down[0].rows);
    run_experts(compute_, weights, acts_.routes(routing), acts_.rows(x), acts_.rows(y));
    ahead_.begin(&weights, no_stretches);
    collectives_.go_on();
    return y;
  }

  Tensor rms_norm(Tensor x, Vector weight, float eps, int group) override {
    const int32_t size = group == 0 ? x.columns : group;
    COHORT_CHECK(x.columns % size == 0 && (weight.id < 0 || weight.size == size));
    const Tensor y = acts_.make(x.rows, x.columns);
    const Rows in = acts_.rows(x), out = acts_.rows(y);
    const float* w = weight.id < 0 ? nullptr : vectors_[weight.id].data();
    for_each_row(compute_, x.rows, x.columns, [&](int32_t r) {
      for (int32_t c = 0; c < in.columns; c += size) {
        kernels_.vector.rms_norm(in.row(r) + c, w, out.row(r) + c, size, eps);
      }
    });
    return y;
  }

  void add(Tensor& sum, Tensor x) override { add_rows(acts_.rows(sum), acts_.rows(x)); }

  void scale(Tensor& x, float factor) override {
    const Rows rows = acts_.rows(x);
    for_each_row(compute_, rows.rows, rows.columns,
                 [&](int32_t r) { kernels_.vector.scale(rows.row(r), factor, rows.columns); });
  }

  void rope(Tensor& x, Rope rope, int head_dim, int skip) override {
    RopeTable& table = ropes_[rope.id];
    COHORT_CHECK(x.rows == plan_rows() && x.columns % head_dim == 0 &&
                 skip + 2 * table.pairs() <= head_dim);
    table.prepare(compute_, step_, positions_);
    const Rows rows = acts_.rows(x);
    for_each_row(compute_, rows.rows, rows.columns, [&](int32_t r) {
      for (int32_t c = skip; c < rows.columns; c += head_dim) {
        kernels_.vector.rope(rows.row(r) + c, table.cos(r), table.sin(r), table.pairs(),
                             table.traditional());
      }
    });
  }

  void scale_by_position(Tensor& x, float beta, int original_max) override {
    COHORT_CHECK(x.rows == plan_rows());
    const Rows rows = acts_.rows(x);
    for_each_row(compute_, rows.rows, rows.columns, [&](int32_t r) {
      const int32_t whole = positions_[r] / original_max;
      const float factor = 1.0f + beta * std::log(1.0f + static_cast<float>(whole));
      kernels_.vector.scale(rows.row(r), factor, rows.columns);
    });
  }

  Tensor attention(Tensor q, Tensor k, Tensor v, const AttentionSpec& spec) override {
    const KvLayer& layer = kv_.layer(spec.layer);
    const KvLayerSpec& kv = layer.spec;
    COHORT_CHECK(q.rows == plan_rows() && k.rows == q.rows && spec.heads % kv.kv_heads == 0);
    COHORT_CHECK(q.columns == spec.heads * kv.key_dim && k.columns == kv.kv_heads * kv.key_dim);
    COHORT_CHECK(layer.value_in_key()
                     ? v.id < 0
                     : v.rows == q.rows && v.columns == kv.kv_heads * kv.value_dim);
    COHORT_CHECK(spec.sinks.id < 0 || spec.sinks.size == spec.heads);
    const Tensor y = acts_.make(q.rows, spec.heads * layer.value_columns());
    const AttentionStep step{.plan = plan_,
                             .cache = &kv_,
                             .layer = &layer,
                             .q = acts_.rows(q),
                             .k = acts_.rows(k),
                             .v = v.id < 0 ? Rows{} : acts_.rows(v),
                             .out = acts_.rows(y),
                             .heads = spec.heads,
                             .scale = spec.scale,
                             .window = spec.window,
                             .sinks = vector_or_empty(spec.sinks)};
    append_kv(compute_, step);
    attend(compute_, step);
    collectives_.go_on();
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
    const Rows to = acts_.rows(y);
    int32_t first = 0;
    for (const Tensor& part : parts) {
      const Rows from = acts_.rows(part);
      const int32_t size = part.columns / heads;
      for_each_row(compute_, from.rows, from.columns, [&](int32_t r) {
        copy_heads(from.row(r), heads, size, to.row(r) + first, columns / heads);
      });
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

  void set_group(transport::Group* group) override { collectives_.set_group(group); }

  void all_sum(Tensor& x) override {
    if (!collectives_.alone()) collectives_.all_sum(acts_.rows(x));
  }

  void begin_sum(Tensor x) override { collectives_.begin_sum(acts_.rows(x)); }
  void add_sum(Tensor& h) override {
    const Rows sum = collectives_.finish_sum();
    add_rows(acts_.rows(h), sum);
  }

  void send(int to, Tensor x) override { collectives_.send(to, acts_.rows(x)); }

  Tensor receive(int from, int32_t rows, int32_t columns) override {
    const Tensor y = acts_.make(rows, columns);
    collectives_.receive(from, acts_.rows(y));
    return y;
  }

 private:
  void add_rows(const Rows& to, const Rows& from) {
    COHORT_CHECK(to.rows == from.rows && to.columns == from.columns);
    for_each_row(compute_, to.rows, to.columns,
                 [&](int32_t r) { kernels_.vector.add(to.row(r), from.row(r), to.columns); });
  }
  int32_t plan_rows() const { return static_cast<int32_t>(positions_.size()); }
  std::span<const float> vector_or_empty(Vector v) const {
    return v.id < 0 ? std::span<const float>() : std::span<const float>(vectors_[v.id]);
  }

  Result<Matrix> keep(std::span<const WeightStore::Stack> stacks) {
    COHORT_TRY(std::vector<Weights> packed, store_.pack(stacks));
    const int32_t rows = packed[0].rows, columns = packed[0].columns;
    matrices_.push_back(std::move(packed));
    return Matrix{static_cast<int32_t>(matrices_.size()) - 1, rows, columns};
  }

  static void append_bias(const std::vector<float>& biases, int64_t experts, int64_t expert,
                          std::vector<float>& to) {
    if (biases.empty()) return;
    const auto size = static_cast<int64_t>(biases.size()) / experts;
    to.insert(to.end(), biases.begin() + expert * size, biases.begin() + (expert + 1) * size);
  }

  const kernels::Kernels& kernels_;
  MemoryBudget budget_;
  ReadAhead ahead_;
  WorkerPool pool_;

  // constant once loaded
  WeightStore store_;
  std::vector<std::vector<Weights>> matrices_;  // one, or one a head
  std::vector<MatrixPart> tables_;
  std::vector<std::vector<float>> vectors_;
  std::vector<Bank> banks_;
  KvCache kv_;

  // of the step
  Activations acts_;
  Compute compute_;
  Collectives collectives_;
  std::vector<RopeTable> ropes_;
  const StepPlan* plan_ = nullptr;
  int64_t step_ = 0;
  std::vector<int32_t> positions_;  // a row
};

}  // namespace

kernels::Gate gate_of(Activation activation) {
  switch (activation) {
    case Activation::kSilu: return kernels::Gate::kSilu;
    case Activation::kGeluTanh: return kernels::Gate::kGeluTanh;
    case Activation::kRelu2: return kernels::Gate::kRelu2;
    case Activation::kGptOss: return kernels::Gate::kGptOss;
  }
  COHORT_CHECK(false);
}

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
