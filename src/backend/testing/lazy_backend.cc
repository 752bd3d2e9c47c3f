#include "backend/testing/lazy_backend.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <functional>
#include <optional>
#include <utility>

#include "backend/cpu/memory.h"
#include "backend/testing/lazy_parts.h"
#include "base/check.h"
#include "transport/group.h"

namespace cohort::backend::testing {
namespace {

constexpr std::chrono::minutes kExchangeLimit{1};

class LazyBackend final : public Backend {
 public:
  BackendInfo info() const override { return {.name = "lazy", .detail = "scalar reference"}; }

  // ---- at load ----

  Result<Matrix> load_matrix(std::span<const MatrixPart> parts,
                             std::span<const float> bias) override {
    Dense dense{.bias = {bias.begin(), bias.end()}};
    for (const MatrixPart& part : parts) dense.append(part, 0);
    return keep({std::move(dense)});
  }
  Result<Matrix> load_embedding(const MatrixPart& table) override {
    tables_.push_back(table);
    tables_.back().rows = resolve(table.rows, table.view.rows);
    return Matrix{static_cast<int32_t>(tables_.size()) - 1,
                  static_cast<int32_t>(tables_.back().rows.count),
                  static_cast<int32_t>(table.view.columns)};
  }
  Result<Matrix> load_head_matrices(const MatrixPart& part) override {
    std::vector<Dense> heads(static_cast<size_t>(part.view.experts));
    for (size_t h = 0; h < heads.size(); ++h) heads[h].append(part, static_cast<int64_t>(h));
    return keep(std::move(heads));
  }
  Result<Vector> load_vector(std::span<const float> values) override {
    vectors_.emplace_back(values.begin(), values.end());
    return Vector{static_cast<int32_t>(vectors_.size()) - 1, static_cast<int32_t>(values.size())};
  }
  Result<ExpertBank> load_experts(const ExpertParts& parts) override {
    const int64_t experts = parts.gate.view.experts;
    const RowRange kept = resolve(parts.experts, experts);
    Bank bank{.first = kept.first, .activation = parts.activation};
    const auto append_bias = [&](const Values& all, int64_t expert, Values& to) {
      const auto size = static_cast<int64_t>(all.size()) / experts;
      to.insert(to.end(), all.begin() + expert * size, all.begin() + (expert + 1) * size);
    };
    for (int64_t e = kept.first; e < kept.first + kept.count; ++e) {
      Dense& gate_up = bank.gate_up.emplace_back();
      gate_up.append(parts.gate, e);
      gate_up.append(parts.up, e);
      append_bias(parts.gate_bias, e, gate_up.bias);
      append_bias(parts.up_bias, e, gate_up.bias);
      bank.down.emplace_back().append(parts.down, e);
      append_bias(parts.down_bias, e, bank.down.back().bias);
    }
    banks_.push_back(std::move(bank));
    return ExpertBank{static_cast<int32_t>(banks_.size()) - 1, static_cast<int32_t>(experts)};
  }
  Rope make_rope(const RopeSpec& spec) override {
    ropes_.push_back(spec);
    return {static_cast<int32_t>(ropes_.size()) - 1};
  }
  Result<void> create_kv(const KvSpec& spec, int32_t pages) override {
    KvSpec stored = spec;
    stored.type = KvType::kF32;
    MemoryBudget budget(0);
    COHORT_TRY_VOID(budget.reserve("the KV cache", kv_page_bytes(stored) * pages));
    const size_t slots = static_cast<size_t>(pages) * kPageTokens;
    for (const KvLayerSpec& layer : spec.layers) {
      KvLayer& kv = kv_.emplace_back(KvLayer{.spec = layer});
      kv.keys.resize(slots * kv.key_columns());
      kv.values.resize(slots * kv.value_columns());
    }
    return {};
  }
  void copy_kv_page(int32_t from, int32_t to) override {
    const auto copy = [&](Values& all, size_t columns) {
      const size_t page = kPageTokens * columns;
      std::copy_n(all.begin() + static_cast<ptrdiff_t>(from * page), page,
                  all.begin() + static_cast<ptrdiff_t>(to * page));
    };
    for (KvLayer& layer : kv_) {
      copy(layer.keys, layer.key_columns());
      copy(layer.values, layer.value_columns());
    }
  }

  // ---- a step ----

  void begin_step(const StepPlan& plan) override {
    slots_.clear();
    effects_.clear();
    select_rows(plan);
  }
  void select_rows(const StepPlan& part) override {
    plan_ = &part;
    positions_.clear();
    for (const SequenceRun& run : part.runs) {
      for (int32_t i = 0; i < run.rows; ++i) positions_.push_back(run.first_position + i);
    }
  }
  Result<void> read(Tensor x, std::span<float> out) override {
    COHORT_TRY_VOID(finish());
    const NodePtr result = take(x);
    COHORT_CHECK(result->values().size() == out.size());
    std::ranges::copy(result->values(), out.begin());
    return {};
  }
  // What others wait for, and what the cache is to hold, happens whether it is read or not, and in the order recorded.
  Result<void> finish() override {
    for (const NodePtr& effect : effects_) effect->values();
    effects_.clear();
    if (error_) return tl::unexpected(*error_);
    return {};
  }

  int32_t scope_begin() override { return static_cast<int32_t>(slots_.size()); }
  void scope_end(int32_t mark) override { slots_.resize(mark); }

  Tensor embed(Matrix table, float factor) override {
    const MatrixPart& part = tables_[table.id];
    const auto rows = static_cast<int32_t>(plan_->tokens.size());
    return record(node(rows, table.columns, [&part, factor, rows, tokens = plan_->tokens] {
      const auto columns = static_cast<size_t>(part.view.columns);
      Values out(rows * columns);
      for (int32_t r = 0; r < rows; ++r) {
        const int64_t row = tokens[r] - part.rows.first;
        if (row >= 0 && row < part.rows.count)
          dequantize_row(part.view, 0, tokens[r], &out[r * columns]);
      }
      for (float& value : out) value *= factor;
      return out;
    }));
  }
  Tensor input(std::span<const float> values, int32_t columns) override {
    const auto rows = static_cast<int32_t>(values.size()) / columns;
    return record(
        node(rows, columns, [kept = Values(values.begin(), values.end())] { return kept; }));
  }
  Tensor linear(Matrix w, Tensor x) override {
    const Dense& dense = matrices_[w.id][0];
    COHORT_CHECK(x.columns == dense.columns);
    return record(map_rows(take(x), dense.rows, [&dense](int32_t, const float* in, float* out) {
      dense.multiply(in, out);
    }));
  }
  Tensor head_linear(Matrix w, Tensor x) override {
    const std::vector<Dense>& heads = matrices_[w.id];
    const auto count = static_cast<int32_t>(heads.size());
    COHORT_CHECK(x.columns == count * w.columns);
    return record(map_rows(take(x), count * w.rows, [&heads](int32_t, const float* in, float* out) {
      for (const Dense& head : heads) {
        head.multiply(in, out);
        in += head.columns;
        out += head.rows;
      }
    }));
  }
  Tensor gated_linear(Matrix gate_up, Tensor x, Activation activation) override {
    const Dense& dense = matrices_[gate_up.id][0];
    COHORT_CHECK(x.columns == dense.columns);
    return record(map_rows(take(x), dense.rows / 2,
                           [&dense, activation](int32_t, const float* in, float* out) {
                             Values both(static_cast<size_t>(dense.rows));
                             dense.multiply(in, both.data());
                             gate_halves(activation, both, out);
                           }));
  }
  // The weights of all experts, a row each.
  Routing route(Matrix router, Tensor x, const RouterSpec& spec, Vector choice_bias) override {
    const Dense& dense = matrices_[router.id][0];
    const Values bias = choice_bias.id < 0 ? Values() : vectors_[choice_bias.id];
    const Tensor weights = record(
        map_rows(take(x), dense.rows, [&dense, spec, bias](int32_t, const float* in, float* out) {
          Values logits(static_cast<size_t>(dense.rows));
          dense.multiply(in, logits.data());
          std::ranges::copy(expert_weights(spec, logits, bias), out);
        }));
    return {weights.id};
  }
  Tensor experts(const ExpertBank& bank, Tensor x, Routing routing) override {
    const Bank& kept = banks_[bank.id];
    const NodePtr weights = slots_[routing.id];
    return record(map_rows(take(x), kept.down[0].rows,
                           [&kept, weights](int32_t r, const float* in, float* out) {
                             for (int32_t e = 0; e < weights->columns(); ++e)
                               kept.add(in, e, weights->row(r)[e], out);
                           }));
  }
  Tensor rms_norm(Tensor x, Vector weight, float eps, int group) override {
    const int32_t size = group == 0 ? x.columns : group;
    COHORT_CHECK(x.columns % size == 0 && (weight.id < 0 || weight.size == size));
    const Values w = weight.id < 0 ? Values(static_cast<size_t>(size), 1.0f) : vectors_[weight.id];
    return record(map_rows(take(x), x.columns, [=](int32_t, const float* in, float* out) {
      for (int32_t c = 0; c < x.columns; ++c) {
        const float* first = in + c / size * size;
        out[c] = static_cast<float>(in[c] / std::sqrt(dot(first, first, size) / size + eps) *
                                    w[c % size]);
      }
    }));
  }
  void add(Tensor& sum, Tensor x) override {
    COHORT_CHECK(sum.rows == x.rows && sum.columns == x.columns);
    change(sum, [more = take(x)](int32_t r, const float* in, float* out) {
      for (int32_t c = 0; c < more->columns(); ++c) out[c] = in[c] + more->row(r)[c];
    });
  }
  void scale(Tensor& x, float factor) override {
    change(x, [factor, columns = x.columns](int32_t, const float* in, float* out) {
      std::transform(in, in + columns, out, [factor](float value) { return value * factor; });
    });
  }
  void rope(Tensor& x, Rope rope, int head_dim, int skip) override {
    const RopeSpec& spec = ropes_[rope.id];
    change(x, [&spec, head_dim, skip, positions = positions_, columns = x.columns](
                  int32_t r, const float* in, float* out) {
      std::copy_n(in, columns, out);
      for (int32_t head = skip; head < columns; head += head_dim)
        rotate(spec, positions[r], in + head, out + head);
    });
  }
  void scale_by_position(Tensor& x, float beta, int original_max) override {
    change(x, [=, columns = x.columns, positions = positions_](int32_t r, const float* in,
                                                               float* out) {
      const int32_t whole = positions[r] / original_max;
      const auto span = static_cast<float>(whole);
      for (int32_t c = 0; c < columns; ++c) out[c] = in[c] * (1 + beta * std::log(1 + span));
    });
  }
  Tensor attention(Tensor q, Tensor k, Tensor v, const AttentionSpec& spec) override {
    KvLayer& layer = kv_[spec.layer];
    COHORT_CHECK(q.columns == spec.heads * layer.spec.key_dim && k.columns == layer.key_columns());
    COHORT_CHECK((v.id < 0) == (layer.spec.value_dim == 0));
    const AttentionNode attend{.layer = layer,
                               .spec = spec,
                               .sinks = spec.sinks.id < 0 ? Values() : vectors_[spec.sinks.id],
                               .q = take(q),
                               .k = take(k),
                               .v = v.id < 0 ? nullptr : take(v)};
    return record_effect(node(q.rows, spec.heads * layer.value_dim(),
                              [attend, plan = plan_] { return attend(*plan); }));
  }
  Tensor concat(std::span<const Tensor> parts, int heads) override {
    std::vector<NodePtr> nodes;
    int32_t columns = 0;
    for (const Tensor& part : parts) {
      nodes.push_back(take(part));
      columns += part.columns;
    }
    return record(map_rows(nodes[0], columns, [=](int32_t r, const float*, float* out) {
      for (int32_t head = 0; head < heads; ++head) {
        for (const NodePtr& part : nodes) {
          const int32_t size = part->columns() / heads;
          out = std::copy_n(part->row(r) + head * size, size, out);
        }
      }
    }));
  }
  Tensor take_rows(Tensor x, std::span<const int32_t> rows) override {
    return record(node(static_cast<int32_t>(rows.size()), x.columns,
                       [from = take(x), kept = std::vector(rows.begin(), rows.end())] {
                         Values out;
                         for (const int32_t r : kept)
                           out.insert(out.end(), from->row(r), from->row(r) + from->columns());
                         return out;
                       }));
  }

  // ---- between ranks ----

  void set_group(transport::Group* group) override { group_ = group; }
  void all_sum(Tensor& x) override {
    if (group_ != nullptr) replace(x, sum_of(x));
  }
  void begin_sum(Tensor x) override { begun_ = group_ == nullptr ? take(x) : sum_of(x); }
  void add_sum(Tensor& h) override {
    change(h, [sum = std::move(begun_)](int32_t r, const float* in, float* out) {
      for (int32_t c = 0; c < sum->columns(); ++c) out[c] = in[c] + sum->row(r)[c];
    });
  }
  void send(int to, Tensor x) override {
    effects_.push_back(node(x.rows, x.columns, [this, to, part = take(x)] {
      const Values& values = part->values();
      exchange([&](auto deadline) { return group_->send_values(to, values, deadline); });
      return values;
    }));
  }
  Tensor receive(int from, int32_t rows, int32_t columns) override {
    return record_effect(node(rows, columns, [this, from, size = size_t{1} * rows * columns] {
      Values values(size);
      exchange([&](auto deadline) { return group_->receive_values(from, values, deadline); });
      return values;
    }));
  }

 private:
  NodePtr sum_of(Tensor x) {
    const NodePtr sum = node(x.rows, x.columns, [this, part = take(x)] {
      Values values = part->values();
      exchange([&](auto deadline) { return group_->all_sum(values, deadline); });
      return values;
    });
    effects_.push_back(sum);
    return sum;
  }

  static void rotate(const RopeSpec& spec, int32_t position, const float* in, float* out) {
    for (int i = 0; i < spec.dims / 2; ++i) {
      const int a = spec.traditional ? 2 * i : i, b = spec.traditional ? a + 1 : i + spec.dims / 2;
      const double angle = static_cast<float>(position) * spec.inverse_frequencies[i];
      const double c = std::cos(angle) * spec.scale, s = std::sin(angle) * spec.scale;
      out[a] = static_cast<float>(in[a] * c - in[b] * s);
      out[b] = static_cast<float>(in[b] * c + in[a] * s);
    }
  }

  Result<Matrix> keep(std::vector<Dense> heads) {
    COHORT_CHECK(heads[0].bias.empty() ||
                 static_cast<int32_t>(heads[0].bias.size()) == heads[0].rows);
    matrices_.push_back(std::move(heads));
    const Dense& first = matrices_.back()[0];
    return Matrix{static_cast<int32_t>(matrices_.size()) - 1, first.rows, first.columns};
  }

  Tensor record(NodePtr made) {
    const Tensor handle{static_cast<int32_t>(slots_.size()), made->rows(), 0, made->columns()};
    slots_.push_back(std::move(made));
    return handle;
  }
  Tensor record_effect(const NodePtr& made) {
    effects_.push_back(made);
    return record(made);
  }
  NodePtr take(Tensor x) const { return slice_of(slots_[x.id], x.first_column, x.columns); }
  void replace(Tensor x, const NodePtr& made) {
    slots_[x.id] = with_columns(slots_[x.id], x.first_column, made);
  }
  void change(Tensor x, RowFunction function) {
    replace(x, map_rows(take(x), x.columns, std::move(function)));
  }

  template <class Call>
  void exchange(Call&& call) {
    if (error_) return;
    Result<void> done = call(transport::Deadline::after(kExchangeLimit));
    if (!done) error_ = std::move(done).error();
  }

  // Deques: nodes refer to entries while others are added.
  std::deque<std::vector<Dense>> matrices_;
  std::deque<MatrixPart> tables_;
  std::deque<Values> vectors_;
  std::deque<Bank> banks_;
  std::deque<RopeSpec> ropes_;
  std::deque<KvLayer> kv_;

  const StepPlan* plan_ = nullptr;
  std::vector<int32_t> positions_;  // a row
  NodePtr begun_;                   // a sum
  std::vector<NodePtr> slots_;      // the newest value of each handle
  std::vector<NodePtr> effects_;
  transport::Group* group_ = nullptr;
  std::optional<Error> error_;
};

}  // namespace

std::unique_ptr<Backend> make_lazy_backend() { return std::make_unique<LazyBackend>(); }

}  // namespace cohort::backend::testing
