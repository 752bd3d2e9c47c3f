// Tensor-parallel ranks in one process, for tests: each rank is a thread with a backend of its own, and the collectives of
// the seam meet at a barrier. Partial sums are added in rank order, so all ranks hold identical bits.
#pragma once

#include <algorithm>
#include <barrier>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "backend/backend.h"

namespace cohort::models::testing {

class Meeting {
 public:
  explicit Meeting(int ranks) : barrier_(ranks), shares_(static_cast<size_t>(ranks)) {}

  // Hands in a share, and calls `use` on everyone's when all are there.
  template <class Use>
  void exchange(int rank, std::vector<float> share, Use use) {
    shares_[static_cast<size_t>(rank)] = std::move(share);
    barrier_.arrive_and_wait();
    use(std::as_const(shares_));
    barrier_.arrive_and_wait();
  }

 private:
  std::barrier<> barrier_;  // orders the accesses to shares_
  std::vector<std::vector<float>> shares_;
};

// All but the collectives is the inner backend's.
class LockstepBackend final : public backend::Backend {
 public:
  LockstepBackend(std::unique_ptr<backend::Backend> inner, Meeting& meeting, int rank)
      : inner_(std::move(inner)), meeting_(meeting), rank_(rank) {}

  void all_sum(backend::Tensor& x) override {
    std::vector<float> sum(static_cast<size_t>(x.rows) * x.columns);
    meeting_.exchange(rank_, values_of(x), [&](const auto& shares) {
      for (const auto& share : shares) {
        COHORT_CHECK(share.size() == sum.size());
        for (size_t i = 0; i < sum.size(); ++i) sum[i] += share[i];
      }
    });
    x = inner_->input(sum, x.columns);
  }

  backend::Tensor all_gather(backend::Tensor x) override {
    std::vector<float> all;
    meeting_.exchange(rank_, values_of(x), [&](const auto& shares) {
      for (int32_t row = 0; row < x.rows; ++row) {
        for (const auto& share : shares) {
          const size_t columns = share.size() / static_cast<size_t>(x.rows);
          const auto first = share.begin() + static_cast<ptrdiff_t>(columns * row);
          all.insert(all.end(), first, first + static_cast<ptrdiff_t>(columns));
        }
      }
    });
    return inner_->input(all, static_cast<int32_t>(all.size()) / x.rows);
  }

  backend::BackendInfo info() const override { return inner_->info(); }
  Result<backend::Matrix> load_matrix(std::span<const backend::MatrixPart> parts,
                                      std::span<const float> bias) override {
    return inner_->load_matrix(parts, bias);
  }
  Result<backend::Matrix> load_embedding(const backend::MatrixPart& table) override {
    return inner_->load_embedding(table);
  }
  Result<backend::Matrix> load_head_matrices(const backend::MatrixPart& part) override {
    return inner_->load_head_matrices(part);
  }
  Result<backend::Vector> load_vector(std::span<const float> values) override {
    return inner_->load_vector(values);
  }
  Result<backend::ExpertBank> load_experts(const backend::ExpertParts& parts) override {
    return inner_->load_experts(parts);
  }
  backend::Rope make_rope(const backend::RopeSpec& spec) override {
    return inner_->make_rope(spec);
  }
  Result<void> create_kv(const backend::KvSpec& spec, int32_t pages) override {
    return inner_->create_kv(spec, pages);
  }
  void copy_kv_page(int32_t from, int32_t to) override { inner_->copy_kv_page(from, to); }
  void begin_step(const backend::StepPlan& plan) override { inner_->begin_step(plan); }
  Result<void> read(backend::Tensor x, std::span<float> out) override {
    return inner_->read(x, out);
  }
  int32_t scope_begin() override { return inner_->scope_begin(); }
  void scope_end(int32_t mark) override { inner_->scope_end(mark); }
  backend::Tensor embed(backend::Matrix table, float factor) override {
    return inner_->embed(table, factor);
  }
  backend::Tensor input(std::span<const float> values, int32_t columns) override {
    return inner_->input(values, columns);
  }
  backend::Tensor linear(backend::Matrix w, backend::Tensor x) override {
    return inner_->linear(w, x);
  }
  backend::Tensor head_linear(backend::Matrix w, backend::Tensor x) override {
    return inner_->head_linear(w, x);
  }
  backend::Tensor gated_linear(backend::Matrix gate_up, backend::Tensor x,
                               backend::Activation activation) override {
    return inner_->gated_linear(gate_up, x, activation);
  }
  backend::Routing route(backend::Matrix router, backend::Tensor x, const backend::RouterSpec& spec,
                         backend::Vector choice_bias) override {
    return inner_->route(router, x, spec, choice_bias);
  }
  backend::Tensor experts(const backend::ExpertBank& bank, backend::Tensor x,
                          backend::Routing routing) override {
    return inner_->experts(bank, x, routing);
  }
  backend::Tensor rms_norm(backend::Tensor x, backend::Vector weight, float eps,
                           int group) override {
    return inner_->rms_norm(x, weight, eps, group);
  }
  void add(backend::Tensor& sum, backend::Tensor x) override { inner_->add(sum, x); }
  void scale(backend::Tensor& x, float factor) override { inner_->scale(x, factor); }
  void rope(backend::Tensor& x, backend::Rope rope, int head_dim, int skip) override {
    inner_->rope(x, rope, head_dim, skip);
  }
  void scale_by_position(backend::Tensor& x, float beta, int original_max) override {
    inner_->scale_by_position(x, beta, original_max);
  }
  backend::Tensor attention(backend::Tensor q, backend::Tensor k, backend::Tensor v,
                            const backend::AttentionSpec& spec) override {
    return inner_->attention(q, k, v, spec);
  }
  backend::Tensor concat(std::span<const backend::Tensor> parts, int heads) override {
    return inner_->concat(parts, heads);
  }
  backend::Tensor take_rows(backend::Tensor x, std::span<const int32_t> rows) override {
    return inner_->take_rows(x, rows);
  }

 private:
  std::vector<float> values_of(backend::Tensor x) {
    std::vector<float> values(static_cast<size_t>(x.rows) * x.columns);
    COHORT_CHECK(inner_->read(x, values));
    return values;
  }

  std::unique_ptr<backend::Backend> inner_;
  Meeting& meeting_;
  int rank_;
};

}  // namespace cohort::models::testing
